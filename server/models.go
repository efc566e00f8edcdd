package server

import (
	"maps"
	"net/http"
	"slices"

	"github.com/verydeep/vgg"
)

// serverName is the server's name in the protocol.
const serverName = "vgg"

// platform is what the protocol calls the kind of all models.
const platform = "vgg_go"

// extensions are those of the protocol that the server has.
var extensions = []string{"binary_tensor_data", "classification", "model_configuration", "statistics", "model_repository"}

func (s *Server) serverMetadata(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, http.StatusOK, map[string]any{
		"name": serverName, "version": s.options.Version,
		"extensions": extensions,
	})
	return nil
}

// lose notes that a device failed. Nothing but a new process gets it back, so the service is
// neither ready nor live from then on, and what started it starts it anew.
func (s *Server) lose(err error) {
	if !s.lost.Swap(true) {
		s.options.Log.Error("device lost: the service has to be started anew", "error", err.Error())
	}
}

// isLive tells whether the service can answer, now or later.
func (s *Server) isLive() bool { return !s.lost.Load() }

// isReady tells whether requests are accepted.
func (s *Server) isReady() bool {
	return s.isLive() && !s.draining.Load() && len(s.models.names()) > 0
}

func (s *Server) live(w http.ResponseWriter, _ *http.Request) error {
	live := s.isLive()
	writeJSON(w, healthCode(live), map[string]bool{"live": live})
	return nil
}

// ready tells whether requests are accepted. A reload changes nothing of it.
func (s *Server) ready(w http.ResponseWriter, _ *http.Request) error {
	ready := s.isReady()
	writeJSON(w, healthCode(ready), map[string]bool{"ready": ready, "live": s.isLive()})
	return nil
}

// healthCode is the status of an answer about health.
func healthCode(well bool) int {
	if well {
		return http.StatusOK
	}
	return http.StatusServiceUnavailable
}

func (s *Server) modelReady(w http.ResponseWriter, r *http.Request) error {
	h, err := s.models.find(r.PathValue("model"))
	if err != nil {
		return err
	}
	about(r).model = h.source.Name
	if err := h.hasVersion(r.PathValue("version")); err != nil {
		return err
	}
	ready, _ := h.ready()
	ready = ready && s.isLive()
	writeJSON(w, healthCode(ready), map[string]any{"name": h.source.Name, "ready": ready})
	return nil
}

// tensorMetadata describes a tensor; −1 is any length.
type tensorMetadata struct {
	Name     string `json:"name"`
	Datatype string `json:"datatype"`
	Shape    []int  `json:"shape"`
}

// inputMetadata describes the input of every model.
var inputMetadata = tensorMetadata{inputName, fp32, []int{-1, 3, -1, -1}}

// outputsCount returns the number of channels of a model's output; −1 if it varies.
func outputsCount(m *vgg.Model) int {
	k, err := m.Net.OutputShape(1, m.Net.Options().Input, m.Net.Options().Input)
	if err != nil {
		return -1
	}
	return k[1]
}

// outputMetadata describes the outputs of a model.
func outputMetadata(m *vgg.Model) []tensorMetadata {
	channels := outputsCount(m)
	var list []tensorMetadata
	for _, name := range outputsOf(m) {
		shape := []int{-1, channels}
		if name == mapOutput {
			shape = append(shape, -1, -1)
		}
		list = append(list, tensorMetadata{name, fp32, shape})
	}
	return list
}

func (s *Server) modelMetadata(w http.ResponseWriter, r *http.Request) error {
	h, g, release, err := s.find(r, r.PathValue("model"), r.PathValue("version"))
	if err != nil {
		return err
	}
	defer release()
	writeJSON(w, http.StatusOK, map[string]any{
		"name": h.source.Name, "versions": []string{onlyVersion}, "platform": platform,
		"inputs":  []tensorMetadata{inputMetadata},
		"outputs": outputMetadata(g.model),
		// Beyond the protocol: what a client needs for tensors of its own.
		"parameters": map[string]any{
			"configuration": g.model.Net.Options().Config, "side": g.model.Net.Options().Input, "classes": g.model.Classes, "preprocess": g.model.Preprocess,
			"also_takes": "BYTES of shape [N] or [N,1]: encoded pictures",
		},
	})
	return nil
}

func (s *Server) modelConfig(w http.ResponseWriter, r *http.Request) error {
	h, g, release, err := s.find(r, r.PathValue("model"), r.PathValue("version"))
	if err != nil {
		return err
	}
	defer release()
	side := g.model.Net.Options().Input
	var outputs []map[string]any
	for _, o := range outputMetadata(g.model) {
		outputs = append(outputs, map[string]any{"name": o.Name, "data_type": "TYPE_FP32", "dims": o.Shape[1:]})
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"name": h.source.Name, "platform": platform, "max_batch_size": s.options.Limits.Images,
		"input":  []map[string]any{{"name": inputName, "data_type": "TYPE_FP32", "format": "FORMAT_NCHW", "dims": []int{3, side, side}}},
		"output": outputs,
	})
	return nil
}

func (s *Server) modelStatistics(w http.ResponseWriter, r *http.Request) error {
	h, _, release, err := s.find(r, r.PathValue("model"), r.PathValue("version"))
	if err != nil {
		return err
	}
	defer release()
	writeJSON(w, http.StatusOK, map[string]any{"model_stats": []modelStatistics{h.stats.of(h.source.Name, onlyVersion)}})
	return nil
}

func (s *Server) allStatistics(w http.ResponseWriter, _ *http.Request) error {
	list := []modelStatistics{}
	for _, name := range s.models.names() {
		if h, err := s.models.find(name); err == nil {
			list = append(list, h.stats.of(name, onlyVersion))
		}
	}
	writeJSON(w, http.StatusOK, map[string]any{"model_stats": list})
	return nil
}

// repositoryIndex lists the models.
func (s *Server) repositoryIndex(w http.ResponseWriter, r *http.Request) error {
	body, free, err := s.body(r)
	if err != nil {
		return err
	}
	defer free()
	var q struct {
		Ready bool `json:"ready"`
	}
	if len(body) > 0 {
		if err := decodeJSON(body, &q); err != nil {
			return err
		}
	}
	writeJSON(w, http.StatusOK, s.index(q.Ready))
	return nil
}

// indexed is a model of the repository.
type indexed struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	State   string `json:"state"`
	Reason  string `json:"reason"`
}

// index lists the models, or only those that are ready.
func (s *Server) index(ready bool) []indexed {
	list := []indexed{}
	for _, name := range s.models.names() {
		h, err := s.models.find(name)
		if err != nil {
			continue
		}
		if ok, reason := h.ready(); ok {
			list = append(list, indexed{name, onlyVersion, "READY", ""})
		} else if !ready {
			list = append(list, indexed{name, onlyVersion, "UNAVAILABLE", reason})
		}
	}
	return list
}

// errNoLoading is the failure where models can't be loaded by requests.
var errNoLoading = refuse(http.StatusForbidden, "load", "models can't be loaded or unloaded by requests: start the service with --allow-load")

// loadModel loads or reloads a model that the service was started with.
func (s *Server) loadModel(w http.ResponseWriter, r *http.Request) error {
	if !s.options.AllowLoad {
		discard(r)
		return errNoLoading
	}
	if err := s.loading(r); err != nil {
		return err
	}
	h, err := s.models.find(r.PathValue("model"))
	if err != nil {
		return err
	}
	about(r).model = h.source.Name
	if err := s.Reload(r.Context(), h.source.Name); err != nil {
		// The error may name the file's place on this machine: the log has it.
		return refuse(http.StatusServiceUnavailable, "load", "model %s can't be read: the log of the service says why", h.source.Name)
	}
	writeJSON(w, http.StatusOK, map[string]any{})
	return nil
}

// loading reads the body of a request to load a model. Its parameters could bring a configuration
// or files of their own, which isn't offered, and isn't ignored in silence.
func (s *Server) loading(r *http.Request) error {
	body, free, err := s.body(r)
	if err != nil {
		return err
	}
	defer free()
	if len(body) == 0 {
		return nil
	}
	var q struct {
		Parameters map[string]any `json:"parameters"`
	}
	if err := decodeJSON(body, &q); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(q.Parameters)) {
		return badRequest("parameter %q: a model is loaded as the service was started with it, want none", abbreviated(name))
	}
	return nil
}

// unloadModel takes a model out of service.
func (s *Server) unloadModel(w http.ResponseWriter, r *http.Request) error {
	discard(r)
	if !s.options.AllowLoad {
		return errNoLoading
	}
	h, err := s.models.find(r.PathValue("model"))
	if err != nil {
		return err
	}
	about(r).model = h.source.Name
	h.unload()
	writeJSON(w, http.StatusOK, map[string]any{})
	return nil
}
