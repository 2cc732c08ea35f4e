package ui

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"sync"
)

//go:embed static
var staticRoot embed.FS

// staticVersions are digests of the files, which are a part of their addresses, so that a
// browser may keep what it has until the program is another one.
var staticVersions = sync.OnceValue(func() map[string]string {
	versions := make(map[string]string)
	entries, err := staticRoot.ReadDir("static")
	if err != nil {
		panic(err) // they are in the program
	}
	for _, e := range entries {
		content, err := staticRoot.ReadFile(path.Join("static", e.Name()))
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(content)
		versions[e.Name()] = hex.EncodeToString(sum[:6])
	}
	return versions
})

// staticPath is the address of a file.
func staticPath(name string) string { return "/static/" + name + "?v=" + staticVersions()[name] }

// staticFiles serves the page's own files.
func staticFiles() http.Handler {
	root, err := fs.Sub(staticRoot, "static")
	if err != nil {
		panic(err)
	}
	files := http.StripPrefix("/static/", http.FileServerFS(root))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := path.Base(r.URL.Path)
		if _, ok := staticVersions()[name]; !ok {
			http.NotFound(w, r) // folders are not listed
			return
		}
		if r.URL.Query().Get("v") == staticVersions()[name] {
			w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		} else {
			w.Header().Set("Cache-Control", "no-cache")
		}
		files.ServeHTTP(w, r)
	})
}
