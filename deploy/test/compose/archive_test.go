package compose_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// archived has a result with a file, which is the relay's word on its health, and finds it in
// the archive's volume.
func archived(t *testing.T, ctx context.Context, client *http.Client, token string, archive service) {
	t.Helper()
	const result = `{"code":200,"data":{"taskId":"task_of_files","state":"success","resultJson":"{\"resultUrls\":[\"http://relay:8721/healthz\"]}"}}`
	r, err := client.Post("http://relay:8720/webhook/apixo/"+token, "application/json", strings.NewReader(result))
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != http.StatusOK {
		t.Fatal(r.Status)
	}
	volume := ""
	for _, m := range archive.Mounts {
		if m.Target == "/data" {
			volume = m.Source
		}
	}
	for {
		file, err := os.ReadFile(filepath.Join(volume, "task_of_files", "01-healthz"))
		if err == nil && strings.Contains(string(file), `"status":"ok"`) {
			break
		}
		pause(t, ctx, "nothing is archived: "+string(file))
	}
}
