package cli

import (
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/verydeep/vgg/internal/vggtest"
)

// TestTrainerStatus: the controller hears of the progress as Kubeflow documents it, seldom, and
// an error of its is said once.
func TestTrainerStatus(t *testing.T) {
	var bodies []map[string]any
	var tokens []string
	code := http.StatusOK
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var v map[string]any
		if err := json.NewDecoder(r.Body).Decode(&v); err != nil || r.Method != http.MethodPost {
			t.Errorf("%s: %v", r.Method, err)
		}
		bodies, tokens = append(bodies, v), append(tokens, r.Header.Get("Authorization"))
		w.WriteHeader(code)
	}))
	defer server.Close()
	dir := t.TempDir()
	vggtest.WriteFiles(t, dir, map[string][]byte{
		"ca.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), "token": []byte("first\n"), "none.pem": nil,
	})
	environment := map[string]string{
		"KUBEFLOW_TRAINER_SERVER_URL": server.URL, "KUBEFLOW_TRAINER_SERVER_CA_CERT": filepath.Join(dir, "ca.pem"),
		"KUBEFLOW_TRAINER_SERVER_TOKEN": filepath.Join(dir, "token"),
	}
	getenv := func(name string) string { return environment[name] }
	s, err := newTrainerStatus(getenv)
	if err != nil || s == nil {
		t.Fatal(s, err)
	}
	metrics := map[string]float64{"loss": 0.25, "learning_rate": 0.01}
	for i := range 3 { // the second and the third come too soon
		if err := s.tell(t.Context(), 45+i, 100, time.Minute, metrics, false); err != nil {
			t.Error(err)
		}
	}
	if err := <-s.flying; err != nil {
		t.Error(err)
	}
	s.flying = nil
	vggtest.WriteFiles(t, dir, map[string][]byte{"token": []byte("second")})
	if err := s.tell(t.Context(), 100, 100, 0, metrics, true); err != nil {
		t.Error(err)
	}
	if len(bodies) != 2 || tokens[0] != "Bearer first" || tokens[1] != "Bearer second" {
		t.Fatalf("%d reports, tokens %q", len(bodies), tokens)
	}
	first := bodies[0]["trainerStatus"].(map[string]any)
	if _, err := time.Parse(time.RFC3339, first["lastUpdatedTime"].(string)); err != nil {
		t.Error(err)
	}
	delete(first, "lastUpdatedTime")
	got, _ := json.Marshal(first)
	if want := `{"estimatedRemainingSeconds":60,"metrics":[{"name":"loss","value":"0.25"},{"name":"learning_rate","value":"0.01"}],"progressPercentage":45}`; string(got) != want {
		t.Errorf("reported %s, want %s", got, want)
	}
	code = http.StatusForbidden
	if err := s.tell(t.Context(), 1, 2, 0, nil, true); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("refused: %v", err)
	}
	if err := s.tell(t.Context(), 1, 2, 0, nil, true); err != nil {
		t.Errorf("said twice: %v", err)
	}
	environment["KUBEFLOW_TRAINER_SERVER_CA_CERT"] = filepath.Join(dir, "none.pem")
	if _, err := newTrainerStatus(getenv); err == nil || !strings.Contains(err.Error(), "no certificate") {
		t.Errorf("without a certificate: %v", err)
	}
	delete(environment, "KUBEFLOW_TRAINER_SERVER_URL")
	if s, err := newTrainerStatus(getenv); s != nil || err != nil {
		t.Errorf("without a controller: %v, %v", s, err)
	}
	if err := (*trainerStatus)(nil).tell(t.Context(), 1, 2, 0, nil, true); err != nil {
		t.Error(err)
	}
}
