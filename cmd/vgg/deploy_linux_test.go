package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/verydeep/vgg/internal/vggtest"
	"github.com/verydeep/vgg/internal/vggtest/tiny"
)

// TestUnits lets systemd check the units of deploy.
func TestUnits(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		vggtest.Skip(t, "systemd-analyze")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var units []string
	for _, name := range []string{"vgg.service", "vgg.socket"} {
		text, err := os.ReadFile(filepath.Join("../../deploy", name))
		if err != nil {
			t.Fatal(err)
		}
		unit := filepath.Join(dir, name)
		// It wants the program to be there.
		if err := os.WriteFile(unit, bytes.ReplaceAll(text, []byte("/usr/bin/vgg"), []byte(self)), 0o666); err != nil {
			t.Fatal(err)
		}
		units = append(units, unit)
	}
	out, err := exec.CommandContext(t.Context(), analyze, append([]string{"verify"}, units...)...).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("%v: %s", err, out)
	}
}

// decode reads YAML that has no other keys than v.
func decode(t *testing.T, d *yaml.Decoder, v any) {
	t.Helper()
	d.KnownFields(true)
	if err := d.Decode(v); err != nil {
		t.Fatal(err)
	}
}

// The forms below have the keys of the published schemas that deploy uses: of KServe's custom
// resources, and of the Compose specification.

type objectMeta struct {
	APIVersion string            `yaml:"apiVersion"`
	Kind       string            `yaml:"kind"`
	Metadata   map[string]string `yaml:"metadata"`
}

type probe struct {
	HTTPGet struct {
		Path string `yaml:"path"`
		Port int    `yaml:"port"`
	} `yaml:"httpGet"`
}

type servingRuntime struct {
	objectMeta `yaml:",inline"`
	Spec       struct {
		Annotations           map[string]string `yaml:"annotations"`
		SupportedModelFormats []struct {
			Name       string `yaml:"name"`
			Version    string `yaml:"version"`
			AutoSelect bool   `yaml:"autoSelect"`
		} `yaml:"supportedModelFormats"`
		ProtocolVersions []string `yaml:"protocolVersions"`
		Containers       []struct {
			Name  string   `yaml:"name"`
			Image string   `yaml:"image"`
			Args  []string `yaml:"args"`
			Ports []struct {
				Name          string `yaml:"name"`
				ContainerPort int    `yaml:"containerPort"`
				Protocol      string `yaml:"protocol"`
			} `yaml:"ports"`
			ReadinessProbe probe `yaml:"readinessProbe"`
			LivenessProbe  probe `yaml:"livenessProbe"`
			Resources      struct {
				Requests, Limits map[string]string
			} `yaml:"resources"`
			SecurityContext struct {
				AllowPrivilegeEscalation bool `yaml:"allowPrivilegeEscalation"`
				Capabilities             struct {
					Drop []string `yaml:"drop"`
				} `yaml:"capabilities"`
				ReadOnlyRootFilesystem bool `yaml:"readOnlyRootFilesystem"`
				RunAsNonRoot           bool `yaml:"runAsNonRoot"`
				RunAsUser              int  `yaml:"runAsUser"`
			} `yaml:"securityContext"`
		} `yaml:"containers"`
	} `yaml:"spec"`
}

type inferenceService struct {
	objectMeta `yaml:",inline"`
	Spec       struct {
		Predictor struct {
			Model struct {
				Runtime     string `yaml:"runtime"`
				ModelFormat struct {
					Name string `yaml:"name"`
				} `yaml:"modelFormat"`
				ProtocolVersion string `yaml:"protocolVersion"`
				StorageURI      string `yaml:"storageUri"`
			} `yaml:"model"`
		} `yaml:"predictor"`
	} `yaml:"spec"`
}

type compose struct {
	Services map[string]struct {
		Build struct {
			Context    string `yaml:"context"`
			Dockerfile string `yaml:"dockerfile"`
		} `yaml:"build"`
		Ports           []string          `yaml:"ports"`
		Volumes         []string          `yaml:"volumes"`
		Environment     map[string]string `yaml:"environment"`
		StopGracePeriod string            `yaml:"stop_grace_period"`
		ReadOnly        bool              `yaml:"read_only"`
		CapDrop         []string          `yaml:"cap_drop"`
		SecurityOpt     []string          `yaml:"security_opt"`
		Restart         string            `yaml:"restart"`
		MemLimit        string            `yaml:"mem_limit"`
	} `yaml:"services"`
	Volumes map[string]struct{} `yaml:"volumes"`
}

// planned runs vgg serve with the arguments and the environment that a file of deploy gives it,
// over a folder with weights, as far as its plan.
func planned(t *testing.T, args []string, environment ...string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := tiny.Random(16, 1).Save(t.Context(), filepath.Join(dir, "tiny.safetensors")); err != nil {
		t.Fatal(err)
	}
	for i, a := range args {
		if strings.HasPrefix(a, "/") {
			args[i] = dir
		}
	}
	cmd := exec.CommandContext(t.Context(), self, append(args, "--plan")...)
	cmd.Env = append(append(os.Environ(), asProgram+"=1"), environment...)
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("parameters of tiny")) {
		t.Errorf("%q with %q: %v: %s", args, environment, err, out)
	}
}

func TestServingRuntime(t *testing.T) {
	f, err := os.Open("../../deploy/servingruntime.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d := yaml.NewDecoder(f)
	var r servingRuntime
	decode(t, d, &r)
	var s inferenceService
	decode(t, d, &s)
	if err := d.Decode(&struct{}{}); !errors.Is(err, io.EOF) {
		t.Errorf("a third document: %v", err)
	}
	if r.Kind != "ServingRuntime" || r.APIVersion != "serving.kserve.io/v1alpha1" || s.Kind != "InferenceService" || s.APIVersion != "serving.kserve.io/v1beta1" {
		t.Errorf("%+v, %+v", r.objectMeta, s.objectMeta)
	}
	c := r.Spec.Containers[0]
	if c.Name != "kserve-container" || c.Ports[0].ContainerPort != 8080 || r.Spec.ProtocolVersions[0] != "v2" || s.Spec.Predictor.Model.Runtime != r.Metadata["name"] {
		t.Errorf("%+v", r.Spec)
	}
	if c.ReadinessProbe.HTTPGet.Path != "/v2/health/ready" || c.LivenessProbe.HTTPGet.Path != "/v2/health/live" {
		t.Errorf("probes %+v, %+v", c.ReadinessProbe, c.LivenessProbe)
	}
	planned(t, c.Args)
}

func TestCompose(t *testing.T) {
	f, err := os.Open("../../deploy/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var c compose
	decode(t, yaml.NewDecoder(f), &c)
	s := c.Services["vgg"]
	if _, err := os.Stat(filepath.Join("../../deploy", s.Build.Context, s.Build.Dockerfile)); err != nil {
		t.Error(err)
	}
	if !s.ReadOnly || len(s.Ports) != 1 || !strings.HasPrefix(s.Ports[0], "127.0.0.1:") {
		t.Errorf("%+v", s)
	}
	var environment []string
	for name, value := range s.Environment {
		environment = append(environment, name+"="+value)
	}
	planned(t, []string{"serve", "/models"}, environment...)
}

// TestDockerfile: the image has the roots of certificates, and its command is one.
func TestDockerfile(t *testing.T) {
	text, err := os.ReadFile("../../deploy/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	var environment []string
	for _, line := range regexp.MustCompile(`(?m)^ENV (.*)$`).FindAllSubmatch(text, -1) {
		environment = append(environment, strings.Fields(string(line[1]))...)
	}
	for _, want := range []string{"FROM scratch", "ca-certificates.crt", `ENTRYPOINT ["/vgg"]`, `CMD ["serve", "/models"]`, "\nUSER "} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("no %q", want)
		}
	}
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`)
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if want := "golang:" + string(version.FindSubmatch(mod)[1]); !bytes.Contains(text, []byte(want)) {
		t.Errorf("no %s, go.mod's", want)
	}
	planned(t, []string{"serve", "/models"}, environment...)
}
