// Package vgg is the VGG system of Simonyan & Zisserman, "Very Deep Convolutional
// Networks for Large-Scale Image Recognition" (ICLR 2015): the network
// configurations as data, the networks built from them, and models (a network with
// its class names and preprocessing) that are opened, saved and asked.
//
// Classify a photograph:
//
//	model, err := vgg.Open("best.safetensors")
//	…
//	top, err := model.ClassifyFile("cat.jpg", 5)
//
// Package train trains a network, package eval evaluates one by the paper's
// protocols.
package vgg
