package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/influxdata/telegraf"
	"github.com/influxdata/telegraf/config"
	"github.com/influxdata/telegraf/metric"
	"github.com/influxdata/telegraf/plugins/inputs"
	"github.com/influxdata/telegraf/plugins/inputs/ecs"
)

// gather prints what the ECS input of telegraf gathers at one time, one metric
// a line.
// https://github.com/influxdata/telegraf/tree/master/plugins/inputs/ecs
func gather(_ context.Context) error {
	input, ok := inputs.Inputs["ecs"]().(*ecs.Ecs)
	if !ok {
		return errors.New("make input: telegraf has no ECS input")
	}
	input.ContainerStatusInclude = []string{"*"}      // by default, only what runs
	input.Timeout = config.Duration(30 * time.Second) // a busy machine may need longer than the default
	out := &sink{}
	if err := input.Gather(out); err != nil {
		return fmt.Errorf("gather: %w", err)
	}
	return out.err
}

// A sink takes what an input gathers. Inputs may do more with an accumulator;
// this one adds fields, and nothing else.
type sink struct {
	telegraf.Accumulator
	err error
}

// AddFields prints a metric, as telegraf would hand it to its outputs.
func (s *sink) AddFields(name string, fields map[string]any, tags map[string]string, at ...time.Time) {
	at = append(at, time.Now())
	m := metric.New(name, tags, fields, at[0])
	err := json.NewEncoder(os.Stdout).Encode(map[string]any{
		"name": m.Name(), "tags": m.Tags(), "fields": m.Fields(), "time": m.Time(),
	})
	if err != nil && s.err == nil {
		s.err = fmt.Errorf("write metric: %w", err)
	}
}
