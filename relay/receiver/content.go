package receiver

import (
	"mime"
	"net/http"
	"regexp"
	"strings"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/schema"
)

// checkContent says why a body is not read as JSON, by the headers that came with
// it; nil if it is. Headers that say nothing untrue of the body do no harm,
// however they say it.
//
// A body that is said to be compressed is not unfolded: a small one can unfold into
// a large one, around the size limit.
func checkContent(h http.Header, body []byte) *schema.Error {
	types, codings := h["Content-Type"], h["Content-Encoding"]
	if len(codings) == 0 && (len(types) == 0 || len(types) == 1 && types[0] == "application/json") {
		return nil
	}
	for _, value := range codings {
		for coding := range strings.SplitSeq(value, ",") {
			if coding = strings.ToLower(strings.TrimSpace(coding)); coding != "" && coding != "identity" && charsetOf(coding) != unicode {
				return refusal(schema.ReasonContentEncoding, "the body has a Content-Encoding, and is only read without one")
			}
		}
	}
	for _, value := range types {
		if why := checkType(value, body); why != nil {
			return why
		}
	}
	return nil
}

func refusal(reason, detail string) *schema.Error {
	return &schema.Error{Kind: event.ErrMediaType, Code: reason, Detail: detail}
}

// checkType holds one Content-Type against the body. Proxies make one of several,
// with commas between them.
func checkType(value string, body []byte) *schema.Error {
	media, parameters, err := mime.ParseMediaType(value)
	if err == nil {
		return checkMedia(media, parameters["charset"], body)
	}
	for _, part := range splitUnquoted(value, ',') {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		parameters := splitUnquoted(part, ';')
		media := strings.ToLower(strings.TrimSpace(parameters[0]))
		if why := checkMedia(media, "", body); why != nil {
			return why
		}
		// Malformed parameters say nothing, apart from the charset as far as it can be read.
		for _, parameter := range parameters[1:] {
			name, charset, _ := strings.Cut(parameter, "=")
			if !strings.EqualFold(strings.TrimSpace(name), "charset") {
				continue
			}
			if why := checkMedia(media, strings.Trim(charset, " \t\""), body); why != nil {
				return why
			}
		}
	}
	return nil
}

// splitUnquoted splits at a separator, unless that stands in a quoted string.
func splitUnquoted(s string, separator byte) (parts []string) {
	quoted, from := false, 0
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++ // whatever follows
		case s[i] == '"':
			quoted = !quoted
		case !quoted && s[i] == separator:
			parts, from = append(parts, s[from:i]), i+1
		}
	}
	return append(parts, s[from:])
}

func checkMedia(media, charset string, body []byte) *schema.Error {
	isJSON := media == "application/json" || media == "text/json" ||
		strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json")
	if !isJSON {
		return refusal(schema.ReasonContentType, "the Content-Type is not that of JSON: application/json was expected")
	}
	switch kind := charsetOf(charset); {
	case kind == foreign, kind == superset && !isASCII(body):
		return refusal(schema.ReasonContentType, "the Content-Type names another charset than utf-8, in which JSON is read")
	}
	return nil
}

// charset is what a charset's name says about a body.
type charset int

const (
	foreign  charset = iota // ASCII is something else in it, or it is not known
	unicode                 // UTF-8, or ASCII, beyond which JSON is UTF-8 anyway
	superset                // ASCII is the same in it, and nothing else
)

var (
	unicodeNames = regexp.MustCompile(`^(x?utf8(bom|sig|mb[34])?|unicode11utf8|unicode20utf8|csutf8|(us)?ascii|ansix3\.4(19(68|86))?|iso646us|isoir6|csascii|cp367|ibm367)?$`)
	// Of those that can be met, these hold ASCII as it is: ISO 8859, Windows and
	// Macintosh, KOI8, and what is used for Chinese, Japanese and Korean but for those
	// that shift between sets.
	supersetNames = regexp.MustCompile(`^((cs)?iso(ir)?8859.*|iso8859.*|latin[0-9]+|l[1-9]|windows(125[0-8]|874|31j)|(cp|x?cp)(125[0-8]|437|85[0258]|866|874|93[26]|949|950)|ibm(437|85[0258]|866)|tis620|koi8[a-z]*|(x)?mac(intosh|roman|cyrillic)|gb2312|gbk|gb18030|big5(hkscs)?|euc(jp|kr|cn|tw)|xeuc(jp|kr)|ksc5601.*|(x)?s(hift)?jis)$`)
	separators    = strings.NewReplacer("-", "", "_", "", " ", "", ":", "", "'", "")
)

// charsetOf tells by a name, in any spelling.
func charsetOf(name string) charset {
	name = separators.Replace(strings.ToLower(strings.TrimSpace(name)))
	switch {
	case unicodeNames.MatchString(name):
		return unicode
	case supersetNames.MatchString(name):
		return superset
	}
	return foreign
}

func isASCII(body []byte) bool {
	for _, c := range body {
		if c >= 0x80 {
			return false
		}
	}
	return true
}
