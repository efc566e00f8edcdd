package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// instruction is a word of the assembly and the text behind it.
type instruction struct {
	word uint32
	text string
}

var wordLine = regexp.MustCompile(`WORD \$0x([0-9a-f]{8}) // (.+)`)

// encodings assembles the comment behind every word, and compares.
func encodings(tools llvm, path string) error {
	source, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var list []instruction
	seen := map[instruction]bool{}
	for _, m := range wordLine.FindAllStringSubmatch(string(source), -1) {
		w, err := strconv.ParseUint(m[1], 16, 32)
		if err != nil {
			return err
		}
		if i := (instruction{uint32(w), m[2]}); !seen[i] {
			seen[i] = true
			list = append(list, i)
		}
	}
	if len(list) == 0 {
		return fmt.Errorf("%s: no words", path)
	}
	if all := strings.Count(string(source), "\tWORD "); all != len(wordLine.FindAllString(string(source), -1)) {
		return fmt.Errorf("%s: words without text behind them", path)
	}
	var text strings.Builder
	for _, i := range list {
		text.WriteString(i.text + "\n")
	}
	listing, err := tools.run(text.String(), "llvm-mc", "-triple=aarch64", "-show-encoding")
	if err != nil {
		return err
	}
	assembled, err := listedWords(listing)
	if err != nil {
		return err
	}
	if len(assembled) != len(list) {
		return fmt.Errorf("llvm-mc made %d instructions of %d", len(assembled), len(list))
	}
	var wrong []error
	for n, i := range list {
		if assembled[n] != i.word {
			wrong = append(wrong, fmt.Errorf("%08x is written for %q, which is %08x", i.word, i.text, assembled[n]))
		}
	}
	if len(wrong) > 0 {
		return errors.Join(wrong...)
	}
	fmt.Printf("%d different words are the instructions behind them\n", len(list))
	return nil
}

var encodingLine = regexp.MustCompile(`encoding: \[0x([0-9a-f]{2}),0x([0-9a-f]{2}),0x([0-9a-f]{2}),0x([0-9a-f]{2})\]`)

// listedWords reads the encodings that llvm-mc shows.
func listedWords(listing string) ([]uint32, error) {
	var words []uint32
	for _, m := range encodingLine.FindAllStringSubmatch(listing, -1) {
		var b [4]byte
		for i, hex := range m[1:] {
			v, err := strconv.ParseUint(hex, 16, 8)
			if err != nil {
				return nil, err
			}
			b[i] = byte(v)
		}
		words = append(words, binary.LittleEndian.Uint32(b[:]))
	}
	return words, nil
}
