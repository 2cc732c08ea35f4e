package ui

import (
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/apixo-relay/apixo-relay/relay/ops/ui/access"
	"github.com/apixo-relay/apixo-relay/relay/text"
	"github.com/apixo-relay/apixo-relay/schema"
)

const (
	// maxMedia bounds what is shown of one result.
	maxMedia = 100
	// maxThumbs bounds what is shown of it in a list.
	maxThumbs = 3
)

// Kinds of media, by what a browser does with them.
const (
	kindImage = "image"
	kindVideo = "video"
	kindAudio = "audio"
)

// kinds are those of the endings that files have. An address without one of them is taken
// for a picture's if it stands among resultUrls, and for no file's elsewhere.
var kinds = map[string]string{
	".jpg": kindImage, ".jpeg": kindImage, ".png": kindImage, ".webp": kindImage, ".gif": kindImage, ".avif": kindImage, ".bmp": kindImage,
	".mp4": kindVideo, ".webm": kindVideo, ".mov": kindVideo, ".m4v": kindVideo,
	".mp3": kindAudio, ".wav": kindAudio, ".ogg": kindAudio, ".flac": kindAudio, ".m4a": kindAudio, ".aac": kindAudio, ".opus": kindAudio,
}

// medium is a file of a result.
type medium struct {
	Kind, URL, Text, Alt string
	// Archived: it is shown from the archive.
	Archived bool
	// Shown: the browser may load it without being asked to.
	Shown bool
	// Link: it is an address that a person can follow.
	Link bool
	// Ask is where a click has it shown; empty where nothing can. Then Why says why.
	Ask, Why, Noun, Host string
}

// media are the files of a result as the page shows them. What is of an origin in clicked is
// shown, too.
func (s *Server) media(t schema.Task, link string, clicked []string) (all []medium, more int) {
	addresses, more := t.Addresses(maxMedia)
	for _, address := range addresses {
		m := medium{Text: text.Line(address), Alt: "result of task " + t.ID}
		u, err := url.Parse(address)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
			m.Why = "this is no address of a file"
			all = append(all, m)
			continue
		}
		m.URL, m.Host, m.Link = u.String(), u.Host, u.User == nil
		m.Kind = kinds[strings.ToLower(path.Ext(u.Path))]
		if m.Kind == "" && slices.Contains(t.ResultURLs, address) {
			m.Kind = kindImage
		}
		m.Noun = map[string]string{kindImage: "the picture", kindVideo: "the video", kindAudio: "the audio"}[m.Kind]
		origin := u.Scheme + "://" + u.Host
		switch {
		case m.Kind == "":
			m.Why = "this is no picture, video or audio by its name"
		case s.cfg.UI.MediaHosts.Allow(u), m.Link && slices.Contains(clicked, origin):
			m.Shown = true
		case !m.Link:
			m.Why = "there is a user in the address"
		case !access.CanAllowMedia(origin):
			m.Why = "a page cannot be allowed to load it from a host of that kind"
		default:
			m.Ask = link + separator(link) + "media=" + url.QueryEscape(origin)
		}
		all = append(all, m)
	}
	return all, more
}

// separator stands between an address and another parameter of it.
func separator(link string) string {
	if strings.Contains(link, "?") {
		return "&"
	}
	return "?"
}

// thumbs are the first pictures of a result that are shown without a click.
func (s *Server) thumbs(t schema.Task) (urls []string) {
	all, _ := s.media(t, "", nil)
	for _, m := range all {
		if m.Shown && m.Kind == kindImage && len(urls) < maxThumbs {
			urls = append(urls, m.URL)
		}
	}
	return urls
}

// isFromHere reports whether a browser says that a page of ours has led to a request. By HTTP
// to another machine browsers do not say it in Sec-Fetch-Site.
func isFromHere(r *http.Request) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" {
		return site == "same-origin"
	}
	from, err := url.Parse(r.Header.Get("Referer"))
	return err == nil && from.Host != "" && from.Host == r.Host
}

// clicked is the origin that somebody has asked for on this page, by a click there: an
// address that is followed from elsewhere shows nothing.
func clicked(w http.ResponseWriter, r *http.Request, task schema.Task) []string {
	origin := r.URL.Query().Get("media")
	if origin == "" || !isFromHere(r) {
		return nil
	}
	addresses, _ := task.Addresses(maxMedia)
	isOfTask := slices.ContainsFunc(addresses, func(address string) bool {
		u, err := url.Parse(address)
		return err == nil && u.User == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Scheme+"://"+u.Host == origin
	})
	if !isOfTask || !access.CanAllowMedia(origin) {
		return nil
	}
	access.AllowMedia(w, origin)
	return []string{origin}
}
