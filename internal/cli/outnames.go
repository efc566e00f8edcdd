package cli

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// outNames returns the file of each image's picture: that of the flag with the image's name before
// it. Images of one name are told apart by their folders below the one that all are in, then by
// their endings too, then by numbers.
func outNames(path string, images []string) []string {
	parts := make([][]string, len(images)) // folders, then the name
	for i, image := range images {
		for part := range strings.SplitSeq(filepath.ToSlash(filepath.Clean(image)), "/") {
			parts[i] = append(parts[i], strings.ReplaceAll(part, ":", "-"))
		}
	}
	shared := sharedFolders(parts)
	join := func(i int, folders, ending bool) string {
		p := slices.Clone(parts[i][shared:])
		if !folders {
			p = p[len(p)-1:]
		}
		last := &p[len(p)-1]
		ext := filepath.Ext(*last)
		*last = strings.TrimSuffix(*last, ext)
		if ending && ext != "" {
			*last += "-" + ext[1:]
		}
		return strings.Join(p, "-")
	}
	names, level := make([]string, len(images)), make([]int, len(images))
	for again := true; again; {
		again = false
		count := map[string]int{}
		for i := range images {
			names[i] = join(i, level[i] > 0, level[i] > 1)
			count[strings.ToLower(names[i])]++ // as some file systems take both for one
		}
		for i := range images {
			if count[strings.ToLower(names[i])] > 1 && level[i] < 2 {
				level[i]++
				again = true
			}
		}
	}
	taken := map[string]bool{}
	for i, name := range names {
		for n := 2; taken[strings.ToLower(names[i])]; n++ {
			names[i] = fmt.Sprintf("%s-%d", name, n)
		}
		taken[strings.ToLower(names[i])] = true
	}
	for i := range names {
		names[i] = filepath.Join(filepath.Dir(path), names[i]+"-"+filepath.Base(path))
	}
	return names
}

// sharedFolders returns the number of folders at the beginning that all paths have.
func sharedFolders(paths [][]string) int {
	if len(paths) == 0 {
		return 0
	}
	n := len(paths[0]) - 1
	for _, p := range paths {
		n = min(n, len(p)-1)
		for i := range n {
			if p[i] != paths[0][i] {
				n = i
				break
			}
		}
	}
	return n
}
