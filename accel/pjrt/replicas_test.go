package pjrt_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/verydeep/vgg/accel/pjrt"
	"github.com/verydeep/vgg/internal/vggtest/xla"
)

// sumOver adds its argument over all replicas.
func sumOver(replicas int) pjrt.Program {
	groups := ""
	for r := range replicas {
		if r > 0 {
			groups += ", "
		}
		groups += fmt.Sprint(r)
	}
	s := pjrt.NewShape(pjrt.F32, 4)
	return pjrt.Program{
		Name: "sum",
		Code: fmt.Appendf(nil, `module @sum attributes {mhlo.num_replicas = %d : i32} {
  func.func public @main(%%x: tensor<4xf32>) -> tensor<4xf32> {
    %%s = "stablehlo.all_reduce"(%%x) ({
    ^bb0(%%a: tensor<f32>, %%b: tensor<f32>):
      %%c = stablehlo.add %%a, %%b : tensor<f32>
      stablehlo.return %%c : tensor<f32>
    }) {replica_groups = dense<[[%s]]> : tensor<1x%dxi64>} : (tensor<4xf32>) -> tensor<4xf32>
    return %%s : tensor<4xf32>
  }
}`, replicas, groups, replicas),
		Inputs: []pjrt.Shape{s}, Outputs: []pjrt.Shape{s},
	}
}

func TestReplicas(t *testing.T) {
	for _, n := range []int{2, 4} {
		c := xla.Client(t, n)
		reversed := slices.Clone(c.Devices[:n])
		slices.Reverse(reversed)
		for _, devices := range [][]*pjrt.Device{nil, reversed} {
			e := compile(t, c, sumOver(n), pjrt.CompileOptions{Replicas: n, Devices: devices})
			if devices == nil {
				devices = c.Devices[:n]
			}
			if !slices.Equal(e.Devices, devices) {
				t.Fatalf("%d replicas run on other devices than was said", n)
			}
			rows, want := make([][]*pjrt.Buffer, n), make([]float32, 4)
			for r := range rows {
				x := []float32{1, float32(r), float32(10 * r), -float32(r * r)}
				for i, v := range x {
					want[i] += v
				}
				rows[r] = []*pjrt.Buffer{upload(t, e.Devices[r], x, 4)}
			}
			execution, err := e.Start(rows)
			if err != nil {
				t.Fatal(err)
			}
			for r, row := range execution.Outputs {
				free(t, row...)
				if row[0].Device != e.Devices[r] {
					t.Errorf("replica %d of %d: output on device %d", r, n, row[0].Device.ID)
				}
				if got, err := pjrt.Download[float32](row[0]); err != nil || !slices.Equal(got, want) {
					t.Errorf("replica %d of %d: %v, %v, want %v", r, n, got, err, want)
				}
			}
			if err := execution.Wait(); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestSecondDevice runs a program of one replica elsewhere than on the first device.
func TestSecondDevice(t *testing.T) {
	c := xla.Client(t, 2)
	d := c.Devices[1]
	e := compile(t, c, scaleAdd(false), pjrt.CompileOptions{Devices: []*pjrt.Device{d}})
	x := upload(t, d, []float32{1, 2, 3, 4, 5, 6}, 2, 3)
	out, err := e.Run(x, upload(t, d, []float32{2}), x)
	if err != nil {
		t.Fatal(err)
	}
	free(t, out...)
	if got, err := pjrt.Download[float32](out[0]); err != nil || !slices.Equal(got, []float32{3, 6, 9, 12, 15, 18}) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestGoroutines(t *testing.T) {
	c := xla.Client(t, 2)
	var programs []*pjrt.Executable
	for _, d := range c.Devices[:2] {
		programs = append(programs, compile(t, c, scaleAdd(false), pjrt.CompileOptions{Devices: []*pjrt.Device{d}}))
	}
	var all sync.WaitGroup
	for g := range 16 {
		all.Go(func() {
			for i := range 100 {
				if err := once(programs[g%2], float32(g), float32(i)); err != nil {
					t.Errorf("goroutine %d, call %d: %v", g, i, err)
					return
				}
			}
		})
	}
	all.Wait()
}

// once uploads, runs, downloads and compares.
func once(e *pjrt.Executable, g, i float32) error {
	d := e.Devices[0]
	x, err := pjrt.Upload(d, []float32{g, 1, 2, 3, 4, i}, 2, 3)
	if err != nil {
		return err
	}
	defer x.Free()
	w, err := pjrt.Upload(d, []float32{i})
	if err != nil {
		return err
	}
	defer w.Free()
	out, err := e.Run(x, w, x)
	if err != nil {
		return err
	}
	defer pjrt.Free(out...)
	got, err := pjrt.Download[float32](out[0])
	if err != nil {
		return err
	}
	if want := []float32{g*i + g, i + 1, 2*i + 2, 3*i + 3, 4*i + 4, i*i + i}; !slices.Equal(got, want) {
		return fmt.Errorf("%v, want %v", got, want)
	}
	return nil
}
