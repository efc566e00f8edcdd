package remote

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// together is the most connections to one host.
const together = 64

// newTransport returns the connections of one file system. Proxies are those of the environment.
func newTransport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost, t.MaxConnsPerHost, t.MaxIdleConns = together, together, 4*together
	t.IdleConnTimeout = 20 * time.Second
	t.DisableCompression = true // pictures are compressed, and offsets are of the bytes as they lie there
	return t
}

// webWay reads objects by HTTP.
type webWay struct{ client *http.Client }

func (w *webWay) get(ctx context.Context, o *object, first, last int64, match string) (*answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, o.url.String(), nil)
	if err != nil {
		return nil, o.connectionError(err)
	}
	if last >= 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", first, last))
		if match != "" {
			req.Header.Set("If-Match", match)
		}
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return nil, o.connectionError(err)
	}
	switch resp.StatusCode {
	case http.StatusOK, http.StatusPartialContent:
		return &answer{resp.Header, resp.StatusCode == http.StatusPartialContent, resp.Body}, nil
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<14))
	var said struct{ Code, Message string } // as S3 and those that follow it say
	_ = xml.Unmarshal(text, &said)
	if said.Message == "" {
		said.Message = string(text)
	}
	failed := o.answerError(resp.StatusCode, said.Code, said.Message)
	if s, err := strconv.Atoi(strings.TrimSpace(resp.Header.Get("Retry-After"))); err == nil && s > 0 {
		failed.after = time.Duration(s) * time.Second
	}
	return nil, failed
}
