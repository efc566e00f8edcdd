package network_test

import (
	"fmt"
	"log"

	"github.com/verydeep/vgg/network"
	"github.com/verydeep/vgg/tensor"
)

// The sizes of configuration D, known as VGG-16, layer by layer.
func ExampleSummarise() {
	s, err := network.Summarise(network.DefaultOptions("D"))
	if err != nil {
		log.Fatal(err)
	}
	for _, l := range s.Layers {
		fmt.Printf("%-8s %-10s %v %d\n", l.Name, l.Type, l.Output, l.Weights+l.Biases)
	}
	fmt.Printf("%d parameters, %.2f G multiplications an image\n", s.Parameters, float64(s.MACs)/1e9)
	// Output:
	// conv1_1  conv3-64   [64 224 224] 1792
	// conv1_2  conv3-64   [64 224 224] 36928
	// pool1    maxpool    [64 112 112] 0
	// conv2_1  conv3-128  [128 112 112] 73856
	// conv2_2  conv3-128  [128 112 112] 147584
	// pool2    maxpool    [128 56 56] 0
	// conv3_1  conv3-256  [256 56 56] 295168
	// conv3_2  conv3-256  [256 56 56] 590080
	// conv3_3  conv3-256  [256 56 56] 590080
	// pool3    maxpool    [256 28 28] 0
	// conv4_1  conv3-512  [512 28 28] 1180160
	// conv4_2  conv3-512  [512 28 28] 2359808
	// conv4_3  conv3-512  [512 28 28] 2359808
	// pool4    maxpool    [512 14 14] 0
	// conv5_1  conv3-512  [512 14 14] 2359808
	// conv5_2  conv3-512  [512 14 14] 2359808
	// conv5_3  conv3-512  [512 14 14] 2359808
	// pool5    maxpool    [512 7 7] 0
	// fc6      FC-4096    [4096 1 1] 102764544
	// fc7      FC-4096    [4096 1 1] 16781312
	// fc8      FC-1000    [1000 1 1] 4097000
	// 138357544 parameters, 15.47 G multiplications an image
}

// An image larger than the crop gives a class score map: the scores of every class at
// every place where the crop fits, 32 pixels apart.
func ExampleNetwork_Forward() {
	o := network.DefaultOptions("A")
	o.Classes, o.Width, o.FC, o.Input = 10, 1.0/16, 32, 64
	net, err := network.New(o)
	if err != nil {
		log.Fatal(err)
	}
	if err := net.Init(network.He, 1); err != nil {
		log.Fatal(err)
	}
	for _, x := range []*tensor.Tensor{tensor.New(1, 3, 64, 64), tensor.New(1, 3, 96, 160)} {
		scores, err := net.Forward(x)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(x.Shape, "→", scores.Shape)
	}
	// Output:
	// [1 3 64 64] → [1 10 1 1]
	// [1 3 96 160] → [1 10 2 4]
}
