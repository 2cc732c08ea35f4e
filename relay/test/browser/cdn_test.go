package browser

import (
	"bytes"
	"encoding/binary"
	"hash/fnv"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"math"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"sync"
)

// cdn has the files of all results, whatever their names, and notes who asks for them.
type cdn struct {
	server *httptest.Server

	mu    sync.Mutex
	asked []fileRequest
}

// fileRequest is one that a browser has made for a file.
type fileRequest struct {
	host, path string
	header     http.Header
}

func newCDN() *cdn {
	c := &cdn{}
	c.server = httptest.NewTLSServer(c)
	return c
}

func (c *cdn) address() string { return c.server.Listener.Addr().String() }

// port is where it listens, under whatever name.
func (c *cdn) port() string {
	_, port, _ := strings.Cut(c.address(), ":")
	return port
}

// ServeHTTP answers with a file of the kind that the path's extension tells.
func (c *cdn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	c.asked = append(c.asked, fileRequest{r.Host, r.URL.Path, r.Header.Clone()})
	c.mu.Unlock()
	switch strings.ToLower(path.Ext(r.URL.Path)) {
	case ".png":
		w.Header().Set("Content-Type", "image/png")
		_ = png.Encode(w, picture(r.URL.Path)) // to who does not wait
	case ".wav", ".mp3":
		w.Header().Set("Content-Type", "audio/wav")
		_, _ = w.Write(sound())
	case ".mp4", ".webm":
		// The browser looks at its beginning and finds that it cannot play it.
		w.Header().Set("Content-Type", "video/mp4")
		_, _ = w.Write([]byte("\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom"))
	default:
		w.Header().Set("Content-Type", "image/jpeg")
		_ = jpeg.Encode(w, picture(r.URL.Path), nil)
	}
}

// of are the requests for files whose path has that text in it.
func (c *cdn) of(text string) []fileRequest {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(c.asked), func(r fileRequest) bool { return !strings.Contains(r.path, text) })
}

// picture is one of hills in the evening, whose colours and shape are those of its name.
func picture(name string) image.Image {
	const width, height = 320, 200
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(name)) // which never fails
	seed := hash.Sum32()
	hue := float64(seed%360) / 360
	m := image.NewRGBA(image.Rect(0, 0, width, height))
	for x := range width {
		at := float64(x)/width*2*math.Pi + float64(seed%7)
		far, near := int(105+14*math.Sin(1.3*at)+6*math.Sin(3.1*at)), int(145+18*math.Sin(0.9*at+2)+5*math.Sin(4*at))
		for y := range height {
			c := shade(hue, 0.45+0.4*float64(y)/height)
			switch {
			case y > near:
				c = shade(hue+0.45, 0.28)
			case y > far:
				c = shade(hue+0.4, 0.45)
			}
			m.SetRGBA(x, y, c)
		}
	}
	return m
}

// shade is a colour of a hue, from 0 to 1, and a lightness.
func shade(hue, light float64) color.RGBA {
	part := func(shift float64) uint8 {
		return uint8(255 * min(1, light*(0.75+0.35*math.Cos(2*math.Pi*(hue+shift)))))
	}
	return color.RGBA{part(0), part(1. / 3), part(2. / 3), 255}
}

// sound is a tenth of a second of silence.
func sound() []byte {
	const rate = 8000
	samples := bytes.Repeat([]byte{128}, rate/10)
	var b bytes.Buffer
	b.WriteString("RIFF")
	b.Write(binary.LittleEndian.AppendUint32(nil, uint32(36+len(samples))))
	b.WriteString("WAVEfmt ")
	for _, v := range []any{uint32(16), uint16(1), uint16(1), uint32(rate), uint32(rate), uint16(1), uint16(8)} {
		_ = binary.Write(&b, binary.LittleEndian, v) // into memory
	}
	b.WriteString("data")
	b.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(samples))))
	b.Write(samples)
	return b.Bytes()
}
