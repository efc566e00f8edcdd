// Package oip has the messages of the Open Inference Protocol v2 over gRPC.
package oip

//go:generate protoc --go_out=. --go_opt=paths=source_relative inference.proto
