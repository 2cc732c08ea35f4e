# Becomes a machine: systemd as process 1 of new namespaces, on the root file system of
# this one with all that is written kept in memory. $1 is an empty folder, $2 the folder
# to be at /srv. Runs in a mount namespace of its own.
set -eu
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
root=$1/root
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" overlay "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
for dir in run tmp dev; do mount -t tmpfs -o mode=755 tmpfs "$root/$dir"; done
chmod 1777 "$root/tmp"
while read -r device major minor; do
  mknod -m 666 "$root/dev/$device" c "$major" "$minor"
done <<END
null 1 3
zero 1 5
full 1 7
random 1 8
urandom 1 9
tty 5 0
END
ln -s pts/ptmx "$root/dev/ptmx"
mkdir "$root/dev/shm" "$root/dev/pts"
mount -t tmpfs tmpfs "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
# Nothing of this machine's own is to start there, nor to be in the way of the relay.
mount -t tmpfs -o mode=755 tmpfs "$root/etc/systemd/system"
mkdir -p "$root/srv"
mount --bind "$2" "$root/srv"
mkdir "$root/.outside"
cd "$root"
pivot_root . .outside
umount --lazy /.outside
# As systemd does it where it is not in a container: credentials are mounted by a helper.
mount --make-rshared /
exec env -i container=test PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  /lib/systemd/systemd --system --unit=basic.target --show-status=0 </dev/null
