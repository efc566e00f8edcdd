package dataset

import (
	"context"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/verydeep/vgg/internal/wholefile"
)

// synset is a class of ImageNet.
type synset struct {
	wnid  string
	id    int // the devkit's ILSVRC2012_ID; -1 if the list has none
	title string
}

// synsetFiles are the names of lists of synsets in the devkits, in Kaggle's copy,
// in Caffe and in Tiny ImageNet.
var synsetFiles = []string{
	"synset_words.txt", "LOC_synset_mapping.txt", "map_clsloc.txt", "words.txt", "classes.txt", "synsets.txt",
}

// parseSynsets reads a list with a synset a line: the WordNet id and its words. Some
// lists have a number before or after the id. Lines without an id are skipped.
func parseSynsets(data []byte) []synset {
	var list []synset
	for line := range strings.Lines(string(data)) {
		words := strings.Fields(line)
		at := slices.IndexFunc(words[:min(len(words), 2)], isWNID)
		if at < 0 {
			continue
		}
		s := synset{wnid: words[at], id: -1}
		rest := words[at+1:]
		number := ""
		if at == 1 {
			number = words[0]
		} else if len(rest) > 1 {
			number = rest[0]
		}
		if n, err := strconv.Atoi(number); err == nil && n >= 0 {
			s.id = n
			if at == 0 {
				rest = rest[1:]
			}
		}
		s.title = strings.ReplaceAll(strings.Join(rest, " "), "_", " ")
		list = append(list, s)
	}
	return list
}

// isWNID recognises a WordNet id: n and eight digits.
func isWNID(s string) bool {
	if len(s) != 9 || s[0] != 'n' {
		return false
	}
	_, err := strconv.ParseUint(s[1:], 10, 32)
	return err == nil
}

// setTitles gives the datasets of a layout the readable names of their classes,
// if a list of synsets in root or its usual folders has all of them.
func setTitles(root fs.FS, sets ...*Dataset) {
	if sets[0].Titles != nil || !slices.ContainsFunc(sets[0].Classes, isWNID) {
		return
	}
	for _, dir := range listFolders {
		for _, name := range synsetFiles {
			data, err := wholefile.ReadFS(context.Background(), root, join(dir, name), wholefile.MaxText)
			if err != nil {
				continue
			}
			if names := titlesOf(sets[0].Classes, parseSynsets(data)); names != nil {
				for _, d := range sets {
					if d != nil {
						d.Titles = names
					}
				}
				return
			}
		}
	}
}

func titlesOf(classes []string, list []synset) []string {
	byID := make(map[string]string, len(list))
	for _, s := range list {
		byID[s.wnid] = s.title
	}
	names := make([]string, len(classes))
	for i, c := range classes {
		if names[i] = byID[c]; names[i] == "" {
			return nil
		}
	}
	return names
}
