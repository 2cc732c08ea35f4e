package upgrade

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// files archives the files of tasks into an object store of the broker, if this version has
// the command for it.
func (r *recording) files(relay *rig.Relay) error {
	if _, help, err := relay.Command(r.ctx, nil, "archive", "-h"); err != nil || !strings.Contains(help, "--until-now") {
		return err
	}
	r.Files = map[string]map[string][]byte{
		"files_1": {"one.txt": []byte("the first file"), "two.bin": {0, 1, 2}},
		"files_2": {"three.jpg": []byte("\xff\xd8\xff and no picture")},
	}
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_, _ = w.Write(r.Files[path.Base(path.Dir(req.URL.Path))][path.Base(req.URL.Path)])
	}))
	defer origin.Close()
	for task, files := range r.Files {
		if err := r.post(relay, &r.Webhooks, withFiles(task, origin.URL+"/"+task, files)); err != nil {
			return err
		}
	}
	code, said, err := relay.Command(r.ctx, append(ofBroker(relay), "RELAY_ARCHIVE_HOSTS="+origin.URL), archiveArgs...)
	if err == nil && code != 0 {
		err = fmt.Errorf("archive ended with exit code %d: %s", code, said)
	}
	return err
}

// archiveArgs archive what there is.
var archiveArgs = []string{"archive", "--to", "nats:" + FilesBucket, "--until-now"}

// ofBroker lets a command use the broker of a relay.
func ofBroker(relay *rig.Relay) []string { return []string{"NATS_URL=" + relay.Broker} }
