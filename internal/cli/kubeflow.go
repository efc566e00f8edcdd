package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/verydeep/vgg/train"
)

// trainerStatus tells Kubeflow Trainer (v2.2 and later, feature TrainJobStatus) how far training
// is, which it shows in the job's status. The controller gives a pod the address, and files with
// its certificate and a token that changes now and then.
type trainerStatus struct {
	url, token string // address, file
	client     *http.Client

	last   time.Time
	flying chan error // of the report under way, nil if there is none
	warned bool
}

const (
	statusEvery   = 5 * time.Second // between two reports, as Kubeflow asks for
	statusTimeout = 5 * time.Second
	statusFile    = 1 << 20 // most bytes of a token or certificate
)

// newTrainerStatus returns nil where no controller wants to know.
func newTrainerStatus(getenv func(string) string) (*trainerStatus, error) {
	s := &trainerStatus{url: getenv("KUBEFLOW_TRAINER_SERVER_URL"), token: getenv("KUBEFLOW_TRAINER_SERVER_TOKEN")}
	authority := getenv("KUBEFLOW_TRAINER_SERVER_CA_CERT")
	if s.url == "" || s.token == "" || authority == "" {
		return nil, nil
	}
	certificate, err := readSmall(authority)
	if err != nil {
		return nil, fmt.Errorf("KUBEFLOW_TRAINER_SERVER_CA_CERT: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(certificate) {
		return nil, fmt.Errorf("KUBEFLOW_TRAINER_SERVER_CA_CERT: %s: no certificate", authority)
	}
	s.client = &http.Client{Timeout: statusTimeout, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	return s, nil
}

func readSmall(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, statusFile))
}

// status is the body of a report.
type status struct {
	Trainer struct {
		Percentage int            `json:"progressPercentage"`
		Remaining  int            `json:"estimatedRemainingSeconds"`
		Metrics    []statusMetric `json:"metrics"`
		Updated    time.Time      `json:"lastUpdatedTime"`
	} `json:"trainerStatus"`
}

type statusMetric struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// tell reports without waiting, unless a report is under way or the last was just now; always
// with whole, which waits. It returns the first error of a report, once: training goes on.
func (s *trainerStatus) tell(ctx context.Context, done, all int, remaining time.Duration, metrics map[string]float64, whole bool) error {
	if s == nil || all < 1 {
		return nil
	}
	var failed error
	if s.flying != nil {
		select {
		case failed = <-s.flying:
			s.flying = nil
		default:
			if !whole {
				return nil
			}
			failed = <-s.flying
			s.flying = nil
		}
	}
	if whole || time.Since(s.last) >= statusEvery {
		s.last = time.Now()
		var b status
		b.Trainer.Percentage = min(100, 100*done/all)
		b.Trainer.Remaining = max(0, int(remaining.Seconds()))
		b.Trainer.Updated = s.last.UTC().Truncate(time.Second)
		for _, name := range []string{"loss", "learning_rate", "top1_error", "images_per_second"} {
			if v, ok := metrics[name]; ok {
				b.Trainer.Metrics = append(b.Trainer.Metrics, statusMetric{name, strconv.FormatFloat(v, 'g', 6, 64)})
			}
		}
		s.flying = make(chan error, 1)
		go func(ended chan<- error) { ended <- s.send(ctx, b) }(s.flying)
		if whole {
			failed = errors.Join(failed, <-s.flying)
			s.flying = nil
		}
	}
	if failed == nil || s.warned {
		return nil
	}
	s.warned = true
	return fmt.Errorf("no progress for Kubeflow: %w", failed)
}

// report tells a controller of an iteration of the run; whole says that the run is done.
func (p *trainProgress) report(i train.Iteration, whole bool) {
	done, elapsed := i.Iteration-p.from, time.Since(p.begun)
	metrics := map[string]float64{"loss": i.Loss, "learning_rate": i.LearningRate, "images_per_second": i.ImagesPerSecond}
	if n := len(p.curve.Epochs); n > 0 && !p.boxes && !p.labels {
		metrics["top1_error"] = p.curve.Epochs[n-1].Top1
	}
	remaining := time.Duration(float64(elapsed) / float64(max(1, done)) * float64(p.left-done))
	if whole {
		i.Iteration, remaining = p.from+p.left, 0
	}
	if err := p.status.tell(context.Background(), i.Iteration, p.from+p.left, remaining, metrics, whole); err != nil {
		p.warn(err.Error())
	}
}

func (s *trainerStatus) send(ctx context.Context, b status) error {
	token, err := readSmall(s.token)
	if err != nil {
		return err
	}
	body, err := json.Marshal(b)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	r.Header.Set("Content-Type", "application/json")
	answer, err := s.client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 300))
		return fmt.Errorf("%s answers %s: %s", s.url, answer.Status, strings.TrimSpace(string(text)))
	}
	return nil
}
