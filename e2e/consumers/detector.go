package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"go.opentelemetry.io/contrib/detectors/aws/ecs"
	"go.opentelemetry.io/otel/sdk/resource"
)

// detect prints the attributes that the OpenTelemetry SDK for Go gives to
// everything that a program on ECS sends.
// https://pkg.go.dev/go.opentelemetry.io/contrib/detectors/aws/ecs
func detect(ctx context.Context) error {
	found, err := resource.New(ctx, resource.WithDetectors(ecs.NewResourceDetector()))
	if err != nil {
		return fmt.Errorf("detect resource: %w", err)
	}
	if found.Len() == 0 {
		return errors.New("detect resource: found nothing")
	}
	attributes := map[string]any{}
	for _, kv := range found.Attributes() {
		attributes[string(kv.Key)] = kv.Value.AsInterface()
	}
	if err := json.NewEncoder(os.Stdout).Encode(attributes); err != nil {
		return fmt.Errorf("write attributes: %w", err)
	}
	return nil
}
