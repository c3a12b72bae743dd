package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	ecs "github.com/open-telemetry/opentelemetry-collector-contrib/receiver/awsecscontainermetricsreceiver"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/receivertest"
)

// Of what the receiver reads, the first collections are printed, however long
// they take on a busy machine.
const (
	interval    = time.Second
	collections = 4
	patience    = time.Minute
)

// receive prints the metrics that the OpenTelemetry Collector's receiver for
// ECS hands on, one OTLP document a line. The receiver is made by its factory,
// as the collector makes it: the client in it is internal to that project.
// https://github.com/open-telemetry/opentelemetry-collector-contrib/tree/main/receiver/awsecscontainermetricsreceiver
func receive(ctx context.Context) error {
	factory := ecs.NewFactory()
	config, ok := factory.CreateDefaultConfig().(*ecs.Config)
	if !ok {
		return fmt.Errorf("configure receiver: unexpected type %T", factory.CreateDefaultConfig())
	}
	config.CollectionInterval = interval

	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	var mu sync.Mutex
	var failure error
	whole := 0
	next, err := consumer.NewMetrics(func(_ context.Context, metrics pmetric.Metrics) error {
		mu.Lock()
		defer mu.Unlock()
		if failure == nil && whole < collections {
			failure = printMetrics(metrics)
			if ofTask(metrics) { // which comes last in a collection
				whole++
			}
		}
		if failure != nil || whole == collections {
			stop()
		}
		return failure
	})
	if err != nil {
		return fmt.Errorf("make consumer: %w", err)
	}
	r, err := factory.CreateMetrics(ctx, receiverSettings(factory), config, next)
	if err != nil {
		return fmt.Errorf("make receiver: %w", err)
	}
	if err := r.Start(ctx, componenttest.NewNopHost()); err != nil {
		return fmt.Errorf("start receiver: %w", err)
	}
	<-ctx.Done()
	if err := r.Shutdown(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("stop receiver: %w", err)
	}
	mu.Lock()
	defer mu.Unlock()
	if failure == nil && whole < collections {
		return fmt.Errorf("collect: got %d collections within %s, want %d", whole, patience, collections)
	}
	return failure
}

// ofTask reports whether metrics are those of the task, and not of one of its
// containers.
func ofTask(metrics pmetric.Metrics) bool {
	if metrics.ResourceMetrics().Len() == 0 {
		return false
	}
	_, ofContainer := metrics.ResourceMetrics().At(0).Resource().Attributes().Get("container.id")
	return !ofContainer
}

func printMetrics(metrics pmetric.Metrics) error {
	line, err := (&pmetric.JSONMarshaler{}).MarshalMetrics(metrics)
	if err != nil {
		return fmt.Errorf("encode metrics: %w", err)
	}
	if _, err := os.Stdout.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write metrics: %w", err)
	}
	return nil
}

func receiverSettings(factory receiver.Factory) receiver.Settings {
	return receivertest.NewNopSettings(factory.Type())
}
