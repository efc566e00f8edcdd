package remote

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
)

// schemes are those that are read.
var schemes = []string{"https://", "http://", "s3://"}

// IsAddress reports whether a text begins as the address of an object: https, http or s3.
func IsAddress(text string) bool {
	return slices.ContainsFunc(schemes, func(s string) bool { return strings.HasPrefix(strings.ToLower(text), s) })
}

// Split returns the addresses in a text that joins them by "::", which a host may have, too.
func Split(text string) []string {
	var out []string
	for _, part := range strings.Split(text, "::") {
		if len(out) > 0 && !IsAddress(part) {
			out[len(out)-1] += "::" + part
			continue
		}
		out = append(out, part)
	}
	return out
}

// Plain returns an address without what may be secret: its query, which may be a signature, and
// a password. What is no address stays as it is.
func Plain(address string) string {
	if !IsAddress(address) {
		return address
	}
	parts := Split(address)
	for i, p := range parts {
		p, _, _ = strings.Cut(p, "?")
		p, _, _ = strings.Cut(p, "#")
		if scheme, rest, ok := strings.Cut(p, "://"); ok {
			host, rest, slash := strings.Cut(rest, "/")
			if at := strings.LastIndexByte(host, '@'); at >= 0 {
				host = host[at+1:]
			}
			if p = scheme + "://" + host; slash {
				p += "/" + rest
			}
		}
		parts[i] = p
	}
	return strings.Join(parts, "::")
}

// parse returns the address and the name by which it is called: host and path.
func parse(address string) (u *url.URL, name string, err error) {
	u, err = url.Parse(address)
	if err != nil {
		if inner := (*url.Error)(nil); errors.As(err, &inner) {
			err = inner.Err // the other has the whole address
		}
		return nil, "", fmt.Errorf("%s: %w", Plain(address), err)
	}
	u.Scheme = strings.ToLower(u.Scheme)
	if u.Host == "" || u.Path == "" || strings.HasSuffix(u.Path, "/") {
		return nil, "", fmt.Errorf("%s: want the address of a file, as https://HOST/PATH/train-000000.tar or s3://BUCKET/PATH/train-000000.tar", Plain(address))
	}
	if u.Path != path.Clean(u.Path) {
		return nil, "", fmt.Errorf("%s: want a path without empty parts and without . or .. in it", Plain(address))
	}
	return u, u.Host + u.Path, nil
}

// signed reports whether a query is a signature of one object, by which no other can be read.
func signed(u *url.URL) bool {
	q := u.Query()
	for _, key := range []string{"X-Amz-Signature", "X-Goog-Signature", "Signature"} {
		if q.Has(key) && !q.Has("Policy") { // a policy of CloudFront may be of many
			return true
		}
	}
	return false
}

// beside returns the address of another file in the same folder.
func beside(u *url.URL, base string) *url.URL {
	other := *u
	other.Path = path.Join(path.Dir(u.Path), base)
	other.RawPath = ""
	return &other
}
