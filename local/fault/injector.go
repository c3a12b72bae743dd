package fault

import "context"

// Injector makes faults real. The Service calls it for one target at a time;
// calls for different targets come at the same time. Every call ends soon after
// its context does.
type Injector interface {
	// Apply puts a fault into all namespaces of the target, and returns when it
	// is there; one that is there already is no error. Faults that run are
	// applied once more to namespaces that have come since, with a target that
	// has only these. On an error nothing of it stays. A *local.Error is shown
	// to the client; of any other it sees that there was one.
	Apply(ctx context.Context, target Target, fault Fault) error
	// Remove takes a fault out of all namespaces of the target. One that is not
	// there, in a namespace that is no more too, is no error.
	Remove(ctx context.Context, target Target, fault Fault) error
	// Check reports whether a fault that was applied is still there.
	Check(ctx context.Context, target Target, fault Fault) (bool, error)
}

// Record is the Injector that touches nothing: a fault runs because somebody
// said so.
type Record struct{}

var _ Injector = Record{}

// Apply does nothing.
func (Record) Apply(context.Context, Target, Fault) error { return nil }

// Remove does nothing.
func (Record) Remove(context.Context, Target, Fault) error { return nil }

// Check reports that the fault is there.
func (Record) Check(context.Context, Target, Fault) (bool, error) { return true, nil }
