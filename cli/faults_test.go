package cli

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/docker"
	"github.com/ecs-local/ecs-local/local/docker/dockertest"
	"github.com/ecs-local/ecs-local/local/fault"
)

// An engine knows of two containers, of which none runs any more.
func endedContainers(t *testing.T) (realFaults, fault.Target) {
	t.Helper()
	e := dockertest.New(t)
	e.Put(dockertest.Container{ID: dockertest.ID("aa"), Name: "web", State: "exited"})
	client, err := docker.New(docker.Options{Host: e.Listen(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return realFaults{client: client}, fault.Target{Name: "shop", Namespaces: []fault.Namespace{{ContainerID: dockertest.ID("aa")}, {ContainerID: dockertest.ID("bb")}}}
}

func TestFaultsOfContainersThatHaveEnded(t *testing.T) {
	t.Parallel()
	faults, target := endedContainers(t)
	f := fault.Fault{Kind: fault.BlackholePort, Port: 1, Protocol: fault.TCP, TrafficType: fault.Egress}
	if err := faults.Apply(t.Context(), target, f); local.CodeOf(err) != local.NotFound {
		t.Errorf("apply: got %v, want %s", err, local.NotFound)
	}
	if there, err := faults.Check(t.Context(), target, f); there || err != nil {
		t.Errorf("check: got %t, %v; want false", there, err)
	}
	if err := faults.Remove(t.Context(), target, f); err != nil {
		t.Errorf("remove: %v", err)
	}
}

func TestFaultsStayOutOfTheNetworkOfTheHost(t *testing.T) {
	t.Parallel()
	faults, _ := endedContainers(t)
	err := faults.Apply(t.Context(), fault.Target{Namespaces: []fault.Namespace{{}}}, fault.Fault{Kind: fault.PacketLoss})
	if local.CodeOf(err) != local.Denied || !strings.Contains(local.MessageOf(err), "--faults record") {
		t.Errorf("got %v, want %s and what to do", err, local.Denied)
	}
}

// breakable is a network that can be out of order.
type breakable struct {
	fault.Record
	broken atomic.Bool
}

func (b *breakable) Remove(context.Context, fault.Target, fault.Fault) error {
	if b.broken.Load() {
		return errors.New("out of order")
	}
	return nil
}

func TestFaultsThatDoNotEndOnTimeAreLoggedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		network := &breakable{}
		network.broken.Store(true)
		log := &output{}
		s := &service{
			faults: fault.New(fault.Options{Injector: network}), containers: &source{changes: &changes{}},
			log: slog.New(slog.NewTextHandler(log, nil)),
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); s.followFaults(ctx, 10*time.Second) }()
		shop := fault.Target{Name: "shop", Namespaces: []fault.Namespace{{ContainerID: "web"}}}
		if err := s.faults.Start(ctx, shop, fault.Fault{Kind: fault.PacketLoss}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(9 * time.Second)
		synctest.Wait()
		if log.String() != "" || len(s.faults.List()) != 1 {
			t.Errorf("before its time: %d faults, log %s", len(s.faults.List()), log)
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if n := strings.Count(log.String(), "network faults not ended on time"); n != 1 || len(s.faults.List()) != 1 {
			t.Errorf("%d faults, said %d times; want 1 and once:\n%s", len(s.faults.List()), n, log)
		}
		network.broken.Store(false)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if len(s.faults.List()) != 0 || !strings.Contains(log.String(), "its time is up") {
			t.Errorf("%d faults, want none:\n%s", len(s.faults.List()), log)
		}
		cancel()
		<-ended
	})
}
