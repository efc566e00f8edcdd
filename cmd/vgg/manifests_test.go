package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// schema is the part of an OpenAPI schema that custom resource definitions use, of which
// testdata/schemas.yaml has that of the keys in deploy (tools/manifests/schemas.py).
type schema struct {
	Type        string             `yaml:"type"`
	Properties  map[string]*schema `yaml:"properties"`
	Additional  *schema            `yaml:"additionalProperties"`
	Items       *schema            `yaml:"items"`
	Required    []string           `yaml:"required"`
	Enum        []any              `yaml:"enum"`
	Pattern     string             `yaml:"pattern"`
	Minimum     *float64           `yaml:"minimum"`
	Maximum     *float64           `yaml:"maximum"`
	MinLength   int                `yaml:"minLength"`
	MaxLength   *int               `yaml:"maxLength"`
	MinItems    int                `yaml:"minItems"`
	MaxItems    *int               `yaml:"maxItems"`
	IntOrString bool               `yaml:"x-kubernetes-int-or-string"`
}

// check returns what is wrong with a value.
func (s *schema) check(at string, v any) error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%s: %v: %s", at, v, fmt.Sprintf(format, args...))
	}
	kind := map[string]bool{}
	switch v := v.(type) {
	case map[string]any:
		kind["object"] = true
		for _, key := range s.Required {
			if _, ok := v[key]; !ok {
				return bad("without %s, which is required", key)
			}
		}
		for key, value := range v {
			below := s.Properties[key]
			if below == nil {
				below = s.Additional
			}
			if below == nil {
				return bad("%s is no key of the published schema", key)
			}
			if err := below.check(at+"."+key, value); err != nil {
				return err
			}
		}
	case []any:
		kind["array"] = true
		if len(v) < s.MinItems || s.MaxItems != nil && len(v) > *s.MaxItems {
			return bad("%d items", len(v))
		}
		for i, value := range v {
			if s.Items == nil {
				return bad("no schema of the items")
			}
			if err := s.Items.check(fmt.Sprintf("%s[%d]", at, i), value); err != nil {
				return err
			}
		}
	case string:
		kind["string"] = true
		if len(v) < s.MinLength || s.MaxLength != nil && len(v) > *s.MaxLength {
			return bad("%d characters", len(v))
		}
		if s.Pattern != "" && !regexp.MustCompile(s.Pattern).MatchString(v) {
			return bad("want %s", s.Pattern)
		}
	case int:
		kind["integer"], kind["number"] = true, true
		if s.Minimum != nil && float64(v) < *s.Minimum || s.Maximum != nil && float64(v) > *s.Maximum {
			return bad("out of bounds")
		}
	case bool:
		kind["boolean"] = true
	}
	if !kind[s.Type] && !(s.IntOrString && (kind["string"] || kind["integer"])) {
		return bad("want %s", s.Type)
	}
	if len(s.Enum) > 0 && !slices.Contains(s.Enum, v) {
		return bad("want one of %v", s.Enum)
	}
	return nil
}

// manifest reads the documents of a file of deploy.
func manifest(t *testing.T, name string) []map[string]any {
	t.Helper()
	f, err := os.Open("../../deploy/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []map[string]any
	for d := yaml.NewDecoder(f); ; {
		var v map[string]any
		if err := d.Decode(&v); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, v)
	}
}

func publishedSchemas(t *testing.T) map[string]*schema {
	t.Helper()
	text, err := os.ReadFile("testdata/schemas.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var schemas map[string]*schema
	if err := yaml.Unmarshal(text, &schemas); err != nil {
		t.Fatal(err)
	}
	return schemas
}

// TestManifests checks the manifests of deploy by the published schemas of their kinds.
func TestManifests(t *testing.T) {
	schemas := publishedSchemas(t)
	for name, kinds := range map[string]string{
		"mpijob.yaml": "MPIJob kubeflow.org/v2beta1", "indexedjob.yaml": "Job batch/v1",
		"trainer.yaml": "TrainingRuntime trainer.kubeflow.org/v1alpha1, TrainJob trainer.kubeflow.org/v1alpha1",
	} {
		var got []string
		for _, d := range manifest(t, name) {
			kind := fmt.Sprint(d["kind"])
			got = append(got, fmt.Sprint(kind, " ", d["apiVersion"]))
			s := schemas[kind]
			if s == nil {
				t.Errorf("%s: no schema of %s", name, kind)
			} else if err := s.check(kind, d); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if all := strings.Join(got, ", "); all != kinds {
			t.Errorf("%s has %s, want %s", name, all, kinds)
		}
	}
}

// TestManifestsAreChecked: what is wrong with a manifest is found.
func TestManifestsAreChecked(t *testing.T) {
	schemas := publishedSchemas(t)
	for want, edit := range map[string]func(spec map[string]any){
		"no key of the published schema": func(s map[string]any) { s["slots"] = 1 },
		"want integer":                   func(s map[string]any) { s["slotsPerWorker"] = "1" },
		"which is required":              func(s map[string]any) { delete(s, "mpiReplicaSpecs") },
		"want one of":                    func(s map[string]any) { s["mpiImplementation"] = "LAM" },
	} {
		d := manifest(t, "mpijob.yaml")[0]
		edit(d["spec"].(map[string]any))
		if err := schemas["MPIJob"].check("MPIJob", d); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want an error with %q", err, want)
		}
	}
}

// at returns what is at a path of keys and indices in a manifest.
func at(t *testing.T, v any, path ...any) any {
	t.Helper()
	for _, step := range path {
		switch step := step.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[step]
		case int:
			l, _ := v.([]any)
			if step >= len(l) {
				t.Fatalf("%v: no item %d of %v", path, step, v)
			}
			v = l[step]
		}
	}
	return v
}

// TestIndexedJob: errors that stay end the job, and those that pass are tried again; the cache of
// the image can be written.
func TestIndexedJob(t *testing.T) {
	d := manifest(t, "indexedjob.yaml")[0]
	actions := map[any]any{}
	for _, rule := range at(t, d, "spec", "podFailurePolicy", "rules").([]any) {
		codes, _ := at(t, rule, "onExitCodes", "values").([]any)
		for _, code := range codes {
			if at(t, rule, "onExitCodes", "operator") != "In" {
				t.Errorf("rule %v: want the operator In", rule)
			}
			actions[code] = at(t, rule, "action")
		}
	}
	for code, want := range map[int]any{1: "FailJob", 2: "FailJob", 3: "FailIndex", 75: nil, 130: nil, 137: nil} {
		if actions[code] != want {
			t.Errorf("exit code %d: %v, want %v", code, actions[code], want)
		}
	}
	image, err := os.ReadFile("../../deploy/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`XDG_CACHE_HOME=(\S+)`).FindSubmatch(image)
	if found == nil {
		t.Fatal("no XDG_CACHE_HOME in the image")
	}
	pod := at(t, d, "spec", "template", "spec")
	limits := map[any]any{} // of volumes without contents
	for _, v := range at(t, pod, "volumes").([]any) {
		limits[at(t, v, "name")] = at(t, v, "emptyDir", "sizeLimit")
	}
	for _, m := range at(t, pod, "containers", 0, "volumeMounts").([]any) {
		if at(t, m, "mountPath") == string(found[1]) && limits[at(t, m, "name")] != nil {
			return
		}
	}
	t.Errorf("no volume with a limit at %s", found[1])
}

// TestLaunchersPatience: mpirun waits for a checkpoint before it kills the ranks, and the pod waits
// for mpirun.
func TestLaunchersPatience(t *testing.T) {
	mpijob, trainer := manifest(t, "mpijob.yaml")[0], manifest(t, "trainer.yaml")
	launcher := at(t, mpijob, "spec", "mpiReplicaSpecs", "Launcher", "template", "spec")
	replicated := at(t, trainer[0], "spec", "template", "spec", "replicatedJobs", 0)
	if at(t, replicated, "name") != "launcher" {
		t.Fatalf("the first job is %v", at(t, replicated, "name"))
	}
	for name, c := range map[string]struct{ mpirun, pod any }{
		"mpijob.yaml":  {at(t, launcher, "containers", 0, "args"), launcher},
		"trainer.yaml": {at(t, trainer[1], "spec", "trainer", "command"), at(t, replicated, "template", "spec", "template", "spec")},
	} {
		words := fmt.Sprint(c.mpirun)
		found := regexp.MustCompile(`--mca odls_base_sigkill_timeout (\d+) .*vgg`).FindStringSubmatch(words)
		if found == nil {
			t.Errorf("%s: mpirun kills ranks a second after SIGTERM: %s", name, words)
			continue
		}
		seconds, _ := strconv.Atoi(found[1])
		if grace, _ := at(t, c.pod, "terminationGracePeriodSeconds").(int); seconds < 30 || grace <= seconds {
			t.Errorf("%s: mpirun waits %d s, the pod %d s", name, seconds, grace)
		}
	}
}
