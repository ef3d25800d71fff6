// The Go team's Merkle tree and signed notes as judges of ours. Reads one case a line of JSON, writes one verdict a line.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type question struct {
	Kind    string
	Record  []byte
	Leaf    []byte
	Size    int64
	Index   int64
	Old     int64
	Root    []byte
	OldRoot []byte
	Hashes  [][]byte
	Leaves  [][]byte
	Vkey    string
	Note    string
	Text    string
}

func hash(data []byte) (found tlog.Hash) {
	if len(data) != tlog.HashSize {
		panic("not 32 bytes")
	}
	copy(found[:], data)
	return
}

func hashes(all [][]byte) (found []tlog.Hash) {
	for _, one := range all {
		found = append(found, hash(one))
	}
	return
}

// treeHash makes the root of leaves with nothing but tlog's own way of storing a log.
func treeHash(leaves [][]byte) (tlog.Hash, error) {
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) (found []tlog.Hash, _ error) {
		for _, index := range indexes {
			found = append(found, stored[index])
		}
		return
	})
	for number, leaf := range leaves {
		added, err := tlog.StoredHashesForRecordHash(int64(number), hash(leaf), reader)
		if err != nil {
			return tlog.Hash{}, err
		}
		stored = append(stored, added...)
	}
	return tlog.TreeHash(int64(len(leaves)), reader)
}

func judge(asked question) error {
	switch asked.Kind {
	case "record":
		if tlog.RecordHash(asked.Record) != hash(asked.Leaf) {
			return fmt.Errorf("another leaf hash")
		}
		return nil
	case "tree":
		found, err := treeHash(asked.Leaves)
		if err == nil && found != hash(asked.Root) {
			err = fmt.Errorf("another root")
		}
		return err
	case "inclusion":
		return tlog.CheckRecord(hashes(asked.Hashes), asked.Size, hash(asked.Root), asked.Index, hash(asked.Leaf))
	case "consistency":
		return tlog.CheckTree(hashes(asked.Hashes), asked.Size, hash(asked.Root), asked.Old, hash(asked.OldRoot))
	case "note":
		verifier, err := note.NewVerifier(asked.Vkey)
		if err != nil {
			return err
		}
		opened, err := note.Open([]byte(asked.Note), note.VerifierList(verifier))
		if err != nil {
			return err
		}
		if len(opened.Sigs) != 1 || len(opened.UnverifiedSigs) != 0 || opened.Text != asked.Text {
			return fmt.Errorf("another text or other signatures")
		}
		tree, err := tlog.ParseTree([]byte("go.sum database tree\n" + opened.Text[len(verifier.Name())+1:]))
		if err == nil && (tree.N != asked.Size || tree.Hash != hash(asked.Root)) {
			err = fmt.Errorf("another tree")
		}
		return err
	}
	return fmt.Errorf("unknown kind %q", asked.Kind)
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<24)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for lines.Scan() {
		var asked question
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			panic(err)
		}
		if err := judge(asked); err != nil {
			fmt.Fprintln(out, "refused:", err)
		} else {
			fmt.Fprintln(out, "accepted")
		}
	}
	if err := lines.Err(); err != nil {
		panic(err)
	}
}
