package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// storeWay reads objects by the protocol of S3. Credentials, region and address of the service
// are those of the environment, as the programs of AWS take them.
type storeWay struct{ core minio.Core }

// newStoreWay reads the environment.
func newStoreWay(transport *http.Transport, getenv func(string) string) (*storeWay, error) {
	o := &minio.Options{
		Secure: true, Transport: transport, MaxRetries: 1, // package remote makes the attempts
		Region: cmp.Or(getenv("AWS_REGION"), getenv("AWS_DEFAULT_REGION")),
	}
	host := "s3.amazonaws.com"
	if given := cmp.Or(getenv("AWS_ENDPOINT_URL_S3"), getenv("AWS_ENDPOINT_URL")); given != "" {
		u, err := url.Parse(given)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, fmt.Errorf("AWS_ENDPOINT_URL_S3 %q, want an address as https://HOST:PORT", given)
		}
		host, o.Secure = u.Host, u.Scheme == "https"
	}
	providers := []credentials.Provider{&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}}
	if !strings.EqualFold(getenv("AWS_EC2_METADATA_DISABLED"), "true") {
		// Machines without the service must not be waited for.
		providers = append(providers, &credentials.IAM{Client: &http.Client{Timeout: 2 * time.Second}})
	}
	o.Creds = credentials.New(&askedOnce{providers: providers})
	client, err := minio.New(host, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", host, err)
	}
	return &storeWay{minio.Core{Client: client}}, nil
}

// askedOnce takes credentials from the first provider that has any. If none has, this is kept:
// requests have no signature, and a service that isn't there isn't waited for before each. What
// some provider had is never followed by requests without a signature: if it can't be renewed,
// this is an error, which may pass.
type askedOnce struct {
	providers []credentials.Provider
	has       credentials.Provider // nil: none
	asked     bool
}

// RetrieveWithCredContext implements [credentials.Provider].
func (a *askedOnce) RetrieveWithCredContext(c *credentials.CredContext) (credentials.Value, error) {
	if a.has != nil {
		return a.has.RetrieveWithCredContext(c)
	}
	for _, p := range a.providers {
		v, err := p.RetrieveWithCredContext(c)
		if err == nil && (v.AccessKeyID != "" || v.SecretAccessKey != "") {
			a.has = p
			return v, nil
		}
	}
	a.asked = true
	return credentials.Value{SignerType: credentials.SignatureAnonymous}, nil
}

// Retrieve implements [credentials.Provider].
func (a *askedOnce) Retrieve() (credentials.Value, error) { return a.RetrieveWithCredContext(nil) }

// IsExpired implements [credentials.Provider].
func (a *askedOnce) IsExpired() bool {
	if a.has != nil {
		return a.has.IsExpired()
	}
	return !a.asked
}

func (w *storeWay) get(ctx context.Context, o *object, first, last int64, match string) (*answer, error) {
	var options minio.GetObjectOptions
	if last >= 0 {
		options.Set("Range", fmt.Sprintf("bytes=%d-%d", first, last))
		if match != "" {
			options.Set("If-Match", match)
		}
	}
	body, _, header, err := w.core.GetObject(ctx, o.url.Host, strings.TrimPrefix(o.url.Path, "/"), options)
	if err == nil {
		return &answer{header, header.Get("Content-Range") != "", body}, nil
	}
	said, ok := errors.AsType[minio.ErrorResponse](err)
	if !ok || said.StatusCode == 0 {
		return nil, o.connectionError(err)
	}
	return nil, o.answerError(said.StatusCode, said.Code, said.Message)
}
