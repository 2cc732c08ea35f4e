package config

import "fmt"

// Archive is what the command archive may download, and where it is watched.
type Archive struct {
	// Hosts are the origins of files. An entry without a scheme is about https at a public
	// address, one with a scheme about that origin wherever it is.
	Hosts Origins `env:"RELAY_ARCHIVE_HOSTS" envDefault:"*.apixo.ai" doc:"comma-separated hosts from which 'apixo-relay archive' downloads, by https and at public addresses only; *.example.com for every name below one, * for any host. An entry with a scheme, such as http://127.0.0.1:9000, allows that origin as it stands, in a private network too"`
	// MaxBytes bounds a file.
	MaxBytes int64 `env:"RELAY_ARCHIVE_MAX_BYTES" envDefault:"1073741824" doc:"the largest file that is archived, in bytes"`
	// AdminAddr is a host and port, or empty where the endpoint is off.
	AdminAddr AdminAddr `env:"RELAY_ARCHIVE_ADMIN_ADDR" envDefault:"off" doc:"where 'apixo-relay archive' answers /healthz, /readyz and /metrics, 127.0.0.1:8723 for instance; off disables them"`
}

// maxArchiveBytes is what the largest object of S3 can have, 5 TiB.
const maxArchiveBytes = 5 << 40

func (c *Config) checkArchive(k *checker) {
	a := c.Archive
	k.require(a.MaxBytes >= 1 && a.MaxBytes <= maxArchiveBytes, "RELAY_ARCHIVE_MAX_BYTES", "is out of range", fmt.Sprintf("choose from 1 to %d bytes", int64(maxArchiveBytes)))
	if a.AdminAddr != "" {
		k.addr("RELAY_ARCHIVE_ADMIN_ADDR", string(a.AdminAddr))
	}
}
