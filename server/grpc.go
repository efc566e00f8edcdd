package server

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/verydeep/vgg/internal/oip"
)

// grpcService is the protocol's service. Its methods are addresses below it.
const grpcService = "/inference.GRPCInferenceService/"

// routeGRPC adds the protocol over gRPC, which goes over HTTP/2 at the same port.
func (s *Server) routeGRPC() {
	unary(s, "ServerLive", func(context.Context, *oip.ServerLiveRequest) (*oip.ServerLiveResponse, error) {
		return &oip.ServerLiveResponse{Live: s.isLive()}, nil
	})
	unary(s, "ServerReady", func(context.Context, *oip.ServerReadyRequest) (*oip.ServerReadyResponse, error) {
		return &oip.ServerReadyResponse{Ready: s.isReady()}, nil
	})
	unary(s, "ModelReady", func(ctx context.Context, q *oip.ModelReadyRequest) (*oip.ModelReadyResponse, error) {
		ready := false // nor is an unknown model
		if h, err := s.models.find(q.Name); err == nil && h.hasVersion(q.Version) == nil {
			ready, _ = h.ready()
			ready = ready && s.isLive()
		}
		return &oip.ModelReadyResponse{Ready: ready}, nil
	})
	unary(s, "ServerMetadata", func(context.Context, *oip.ServerMetadataRequest) (*oip.ServerMetadataResponse, error) {
		return &oip.ServerMetadataResponse{Name: serverName, Version: s.options.Version, Extensions: extensions}, nil
	})
	unary(s, "ModelMetadata", s.grpcMetadata)
	unary(s, "ModelInfer", s.grpcInfer)
	unary(s, "ModelStatistics", s.grpcStatistics)
	unary(s, "RepositoryIndex", func(_ context.Context, q *oip.RepositoryIndexRequest) (*oip.RepositoryIndexResponse, error) {
		r := &oip.RepositoryIndexResponse{}
		for _, m := range s.index(q.Ready) {
			r.Models = append(r.Models, &oip.RepositoryIndexResponse_ModelIndex{Name: m.Name, Version: m.Version, State: m.State, Reason: m.Reason})
		}
		return r, nil
	})
}

// unary adds a method whose errors are failures.
func unary[Q, A any](s *Server, method string, answer func(context.Context, *Q) (*A, error)) {
	address := grpcService + method
	handler := connect.NewUnaryHandler(address, func(ctx context.Context, q *connect.Request[Q]) (*connect.Response[A], error) {
		if m, ok := any(q.Msg).(proto.Message); ok {
			free, err := s.hold(int64(proto.Size(m)))
			if err != nil {
				return nil, s.grpcFailure(ctx, err)
			}
			defer free()
		}
		a, err := answer(ctx, q.Msg)
		if err != nil {
			return nil, s.grpcFailure(ctx, err)
		}
		return connect.NewResponse(a), nil
	}, connect.WithReadMaxBytes(int(s.options.Limits.Body)))
	s.mux.Handle("POST "+address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		about(r).endpoint = address
		body := &heldBody{ReadCloser: r.Body, server: s, ctx: r.Context()}
		defer func() { s.bodies.Add(-body.held) }()
		for _, name := range []string{"Grpc-Encoding", "Content-Encoding"} {
			if encoding := r.Header.Get(name); encoding != "" && encoding != "identity" {
				body.hold(s.options.Limits.Body) // of which it may become so much
			}
		}
		r.Body = body
		handler.ServeHTTP(w, r)
	}))
}

// heldBody is a body whose bytes count among those of all bodies from the moment they come.
type heldBody struct {
	io.ReadCloser
	server *Server
	ctx    context.Context
	held   int64
	err    error // why no more is read
}

func (b *heldBody) hold(n int64) {
	b.held += n
	if b.server.bodies.Add(n) > b.server.options.Limits.Bodies && b.err == nil {
		b.err = b.server.grpcFailure(b.ctx, b.server.fullOfBodies())
	}
}

func (b *heldBody) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.ReadCloser.Read(p)
	if b.hold(int64(n)); b.err != nil {
		return 0, b.err
	}
	return n, err
}

// grpcFailure returns an error with the code of gRPC that its code of HTTP stands for.
func (s *Server) grpcFailure(ctx context.Context, err error) error {
	f := s.failureOf(ctx, err)
	if a, ok := ctx.Value(requestKey{}).(*request); ok {
		a.code = f.code
	}
	code, ok := map[int]connect.Code{
		http.StatusBadRequest: connect.CodeInvalidArgument, http.StatusUnauthorized: connect.CodeUnauthenticated, http.StatusForbidden: connect.CodePermissionDenied,
		http.StatusNotFound: connect.CodeNotFound, http.StatusRequestEntityTooLarge: connect.CodeInvalidArgument, http.StatusTooManyRequests: connect.CodeResourceExhausted,
		http.StatusServiceUnavailable: connect.CodeUnavailable, statusGone: connect.CodeCanceled,
	}[f.code]
	if !ok {
		code = connect.CodeInternal
	}
	return connect.NewError(code, errors.New(f.Error()))
}

// findIn is find for a method of gRPC.
func (s *Server) findIn(ctx context.Context, name, version string) (*hosted, *generation, func(), error) {
	a, ok := ctx.Value(requestKey{}).(*request)
	if !ok {
		a = &request{}
	}
	return s.findFor(a, name, version)
}

func (s *Server) grpcMetadata(ctx context.Context, q *oip.ModelMetadataRequest) (*oip.ModelMetadataResponse, error) {
	h, g, release, err := s.findIn(ctx, q.Name, q.Version)
	if err != nil {
		return nil, err
	}
	defer release()
	r := &oip.ModelMetadataResponse{Name: h.source.Name, Versions: []string{onlyVersion}, Platform: platform}
	of := func(m tensorMetadata) *oip.ModelMetadataResponse_TensorMetadata {
		return &oip.ModelMetadataResponse_TensorMetadata{Name: m.Name, Datatype: m.Datatype, Shape: wide(m.Shape)}
	}
	r.Inputs = append(r.Inputs, of(inputMetadata))
	for _, o := range outputMetadata(g.model) {
		r.Outputs = append(r.Outputs, of(o))
	}
	return r, nil
}

func wide(shape []int) []int64 {
	list := make([]int64, len(shape))
	for i, n := range shape {
		list[i] = int64(n)
	}
	return list
}

func (s *Server) grpcInfer(ctx context.Context, q *oip.ModelInferRequest) (*oip.ModelInferResponse, error) {
	h, g, release, err := s.findIn(ctx, q.ModelName, q.ModelVersion)
	if err != nil {
		return nil, err
	}
	defer release()
	request, err := requestOf(q)
	if err != nil {
		return nil, err
	}
	answer, err := s.run(ctx, h, g, request)
	if err != nil {
		return nil, err
	}
	r := &oip.ModelInferResponse{ModelName: answer.Model, ModelVersion: answer.Version, Id: answer.ID}
	for _, t := range answer.Outputs {
		r.Outputs = append(r.Outputs, &oip.ModelInferResponse_InferOutputTensor{Name: t.Name, Datatype: t.Datatype, Shape: wide(t.Shape)})
		r.RawOutputContents = append(r.RawOutputContents, t.raw())
	}
	return r, nil
}

// requestOf returns a request of gRPC as one of HTTP.
func requestOf(q *oip.ModelInferRequest) (*inferRequest, error) {
	if len(q.Inputs) > maxTensors || len(q.Outputs) > maxTensors {
		return nil, badRequest("%d inputs and %d outputs, the most is %d", len(q.Inputs), len(q.Outputs), maxTensors)
	}
	if n := len(q.RawInputContents); n > 0 && n != len(q.Inputs) {
		return nil, badRequest("%d raw contents for %d inputs", n, len(q.Inputs))
	}
	r := &inferRequest{ID: q.Id, Parameters: parametersOf(q.Parameters)}
	for i, in := range q.Inputs {
		t := wireTensor{Name: in.Name, Datatype: in.Datatype, Parameters: parametersOf(in.Parameters)}
		var numbers []json.Number
		for _, n := range in.Shape {
			numbers = append(numbers, json.Number(strconv.FormatInt(n, 10)))
		}
		var err error
		if t.shape, err = shapeOf(numbers); err != nil {
			return nil, badRequest("input %q: %w", abbreviated(in.Name), err)
		}
		c := in.Contents
		switch {
		case len(q.RawInputContents) > 0 && c != nil:
			return nil, badRequest("input %q has both contents and raw contents", abbreviated(in.Name))
		case len(q.RawInputContents) > 0:
			t.raw = q.RawInputContents[i]
		case c == nil:
			return nil, badRequest("input %q has no contents", abbreviated(in.Name))
		case in.Datatype == fp32:
			t.raw = appendFloats(nil, c.Fp32Contents)
		default:
			for _, element := range c.BytesContents {
				t.raw = append(t.raw, withLength(element)...)
			}
		}
		if t.raw == nil {
			t.raw = []byte{}
		}
		r.Inputs = append(r.Inputs, t)
	}
	for _, o := range q.Outputs {
		r.Outputs = append(r.Outputs, wireOutput{o.Name, parametersOf(o.Parameters)})
	}
	return r, nil
}

// parametersOf returns parameters as JSON has them.
func parametersOf(given map[string]*oip.InferParameter) map[string]any {
	if len(given) == 0 {
		return nil
	}
	values := map[string]any{}
	for name, p := range given {
		switch v := p.GetParameterChoice().(type) {
		case *oip.InferParameter_BoolParam:
			values[name] = v.BoolParam
		case *oip.InferParameter_Int64Param:
			values[name] = json.Number(strconv.FormatInt(v.Int64Param, 10))
		case *oip.InferParameter_Uint64Param:
			values[name] = json.Number(strconv.FormatUint(v.Uint64Param, 10))
		case *oip.InferParameter_DoubleParam:
			values[name] = json.Number(fmt.Sprint(v.DoubleParam))
		case *oip.InferParameter_StringParam:
			values[name] = v.StringParam
		}
	}
	return values
}

// raw returns the values of an output as bytes.
func (t *outputTensor) raw() []byte {
	if t.Datatype != bytesType {
		return appendFloats(nil, t.floats)
	}
	var data []byte
	for _, text := range t.texts {
		data = binary.LittleEndian.AppendUint32(data, uint32(len(text)))
		data = append(data, text...)
	}
	return data
}

func (s *Server) grpcStatistics(ctx context.Context, q *oip.ModelStatisticsRequest) (*oip.ModelStatisticsResponse, error) {
	names := []string{q.Name}
	if q.Name == "" {
		names = s.models.names()
	}
	r := &oip.ModelStatisticsResponse{}
	duration := func(d durationSum) *oip.StatisticDuration { return &oip.StatisticDuration{Count: d.Count, Ns: d.NS} }
	for _, name := range names {
		h, err := s.models.find(name)
		if err != nil {
			return nil, err
		}
		if err := h.hasVersion(q.Version); err != nil {
			return nil, err
		}
		m := h.stats.of(h.source.Name, onlyVersion)
		of := &oip.ModelStatistics{
			Name: m.Name, Version: m.Version, LastInference: uint64(m.Last), InferenceCount: uint64(m.Inferences), ExecutionCount: uint64(m.Executions),
			InferenceStats: &oip.InferStatistics{
				Success: duration(m.Sums["success"]), Fail: duration(m.Sums["fail"]), Queue: duration(m.Sums["queue"]), ComputeInput: duration(m.Sums["compute_input"]),
				ComputeInfer: duration(m.Sums["compute_infer"]), ComputeOutput: duration(m.Sums["compute_output"]), CacheHit: duration(m.Sums["cache_hit"]), CacheMiss: duration(m.Sums["cache_miss"]),
			},
		}
		for _, b := range m.Batches {
			of.BatchStats = append(of.BatchStats, &oip.InferBatchStatistics{BatchSize: uint64(b.Size), ComputeInput: duration(b.Input), ComputeInfer: duration(b.Compute), ComputeOutput: duration(b.Output)})
		}
		r.ModelStats = append(r.ModelStats, of)
	}
	return r, nil
}
