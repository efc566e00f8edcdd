package releases_test

import (
	"math"
	"regexp"
	"strings"
	"testing"

	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/releases"
)

// TestReleaseTable recomputes what the table says of each release.
func TestReleaseTable(t *testing.T) {
	seen := map[string]bool{}
	published := map[string]float64{ // MiB, _file_size in torchvision/models/vgg.py
		"vgg16-397923af.pth": 527.796, "vgg19-dcbb9e9d.pth": 548.051,
		"vgg16_bn-6c64b313.pth": 527.866, "vgg19_bn-c79401a0.pth": 548.143,
	}
	for _, r := range releases.All() {
		o := network.DefaultOptions(r.Name)
		if r.Headless {
			o.Classes = 0
		}
		s, err := network.Summarise(o)
		if err != nil {
			t.Fatal(err)
		}
		if s.Parameters != r.Parameters || s.Config != r.Name {
			t.Errorf("%s: %d parameters of %s, the network has %d", r.File, r.Parameters, r.Name, s.Parameters)
		}
		if err := r.Preprocess.Validate(); err != nil || r.Preprocess.Crop != o.Input || r.Preprocess.Resize != 256 {
			t.Errorf("%s: preprocessing %+v, %v", r.File, r.Preprocess, err)
		}
		if !strings.HasPrefix(r.URL, "https://") || !strings.HasSuffix(r.URL, "/"+r.File) || seen[r.URL] || r.Licence == "" {
			t.Errorf("%s: address %s, licence %q", r.File, r.URL, r.Licence)
		}
		seen[r.URL] = true
		if !(r.Top1 < r.Top5 && r.Top1 > 0.69 && r.Top5 < 0.93) && (r.Top1 != 0 || r.Top5 != 0 || !r.Headless) {
			t.Errorf("%s: accuracies %v and %v", r.File, r.Top1, r.Top5)
		}
		if mib, ok := published[r.File]; r.Bytes != 0 && (!ok || math.Abs(float64(r.Bytes)/(1<<20)-mib) > 0.0006) {
			t.Errorf("%s: %d bytes, published %.3f MiB", r.File, r.Bytes, mib)
		}
		switch r.Source {
		case "torchvision": // whose names end with the hash
			m := regexp.MustCompile(`-([0-9a-f]{8})\.pth$`).FindStringSubmatch(r.File)
			if m == nil || !strings.HasPrefix(r.SHA256, m[1]) || r.MD5 != "" {
				t.Errorf("%s: SHA-256 %q", r.File, r.SHA256)
			}
		case "keras":
			if !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(r.MD5) || r.SHA256 != "" {
				t.Errorf("%s: MD5 %q", r.File, r.MD5)
			}
		}
	}
	if len(seen) != 15 {
		t.Errorf("%d releases, want 15", len(seen))
	}
}

func TestFind(t *testing.T) {
	for name, want := range map[string]string{
		"D torchvision": "vgg16-397923af.pth", "vgg19_bn torchvision": "vgg19_bn-c79401a0.pth", "e-bn torchvision": "vgg19_bn-c79401a0.pth",
		"vgg16_features torchvision": "vgg16_features-amdegroot-88682ab5.pth", "D keras": "vgg16_weights_tf_dim_ordering_tf_kernels.h5",
		"vgg19-notop keras": "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5", "E caffe": "VGG_ILSVRC_19_layers.caffemodel",
	} {
		config, source, _ := strings.Cut(name, " ")
		r, err := releases.Find(config, source)
		if err != nil || r.File != want || !strings.HasSuffix(r.URL, "/"+want) {
			t.Errorf("%s: %+v, %v, want %s", name, r, err, want)
		}
	}
	for name, want := range map[string]string{
		"C torchvision": "no release of C by torchvision, want one of A, B, D, E, A-BN", "D timm": `source "timm", want torchvision, keras or caffe`,
		"D-BN keras": "no release of D-BN by keras", "Z torchvision": `configuration "Z"`, "A-features torchvision": "no release of A-features",
	} {
		config, source, _ := strings.Cut(name, " ")
		if r, err := releases.Find(config, source); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v, want %q", name, r, err, want)
		}
	}
}
