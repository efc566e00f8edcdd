package preprocess

// IsImage reports whether a file that begins with head is of a format that [Decode] reads.
// A few hundred bytes tell.
func IsImage(head []byte) bool {
	_, ok := codecFor(sniff(head))
	return ok
}
