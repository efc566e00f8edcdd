package server

import (
	"context"
	"errors"
)

// Follow serves what list returns, and looks again every second: models that are new are
// read and served, those that are gone are taken out of service. A model that can't be read
// is told in the log, and read again once its stamp is another. Follow returns the error of
// the first list, and of a first reading that leaves no model.
func (s *Server) Follow(ctx context.Context, list func() ([]Source, error)) error {
	f := &follower{server: s, list: list, failed: map[string]string{}, added: map[string]bool{}}
	err := f.look(ctx)
	if err == nil && len(f.added) == 0 {
		err = errors.New("server: no model could be read")
		if f.last != nil {
			err = f.last
		}
	}
	if err != nil {
		return err
	}
	s.following.Lock()
	defer s.following.Unlock()
	s.followers = append(s.followers, f)
	return nil
}

// follower keeps the models of one list.
type follower struct {
	server *Server
	list   func() ([]Source, error)
	failed map[string]string // stamp of the files that couldn't be read, by name
	added  map[string]bool
	last   error // of the latest reading
}

// look makes the models those of the list.
func (f *follower) look(ctx context.Context) error {
	sources, err := f.list()
	if err != nil {
		return err
	}
	listed := map[string]bool{}
	for _, source := range sources {
		listed[source.Name] = true
		if f.added[source.Name] {
			continue
		}
		stamp := ""
		if source.Stamp != nil {
			stamp, _ = source.Stamp()
		}
		if before, ok := f.failed[source.Name]; ok && before == stamp {
			continue
		}
		if err := f.server.Add(ctx, source); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			f.failed[source.Name], f.last = stamp, err
			continue
		}
		delete(f.failed, source.Name)
		f.added[source.Name] = true
	}
	for name := range f.added {
		if !listed[name] {
			delete(f.added, name)
			_ = f.server.Remove(name) // it may be gone already
		}
	}
	return nil
}
