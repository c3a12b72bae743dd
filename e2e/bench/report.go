package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
)

// comparison is the result of a row.
type comparison struct {
	Work       string  `json:"work"`
	Containers int     `json:"containers"`
	Bytes      int     `json:"bytes"`
	Program    rates   `json:"ecsLocal"`
	Bare       rates   `json:"bare"`
	Ratio      float64 `json:"ratio"` // median of the ratios of neighbouring slices
	Lowest     float64 `json:"lowest"`
	Highest    float64 `json:"highest"`
	MustReach  float64 `json:"mustReach,omitempty"`
	Missed     bool    `json:"missed"`
}

// rates is how one side did.
type rates struct {
	PerSecond  float64   `json:"requestsPerSecond"` // median
	Slices     []float64 `json:"slices"`
	PerRequest float64   `json:"processorMicrosecondsPerRequest"`
}

func newComparison(r row, containers, length int, own, bare *side) comparison {
	ratios := make([]float64, len(own.rates))
	for i := range ratios {
		ratios[i] = own.rates[i] / bare.rates[i]
	}
	c := comparison{
		Work: r.name, Containers: containers, Bytes: length,
		Program: rates{median(own.rates), own.rates, own.perRequest()},
		Bare:    rates{median(bare.rates), bare.rates, bare.perRequest()},
		Ratio:   median(ratios), Lowest: slices.Min(ratios), Highest: slices.Max(ratios), MustReach: r.mustReach,
	}
	c.Missed = c.Ratio < c.MustReach
	return c
}

// figure is a result of another kind.
type figure struct {
	What       string    `json:"what"`
	Containers int       `json:"containers"`
	Unit       string    `json:"unit,omitempty"`
	Value      float64   `json:"value"` // median
	Values     []float64 `json:"values"`
	AtMost     float64   `json:"atMost,omitempty"` // 0 for no target
	Missed     bool      `json:"missed"`
	Note       string    `json:"note,omitempty"`
}

func newFigure(what string, containers int, unit string, atMost float64, values []float64) figure {
	f := figure{What: what, Containers: containers, Unit: unit, Value: median(values), Values: values, AtMost: atMost}
	f.Missed = atMost > 0 && f.Value > atMost
	return f
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n == 0 {
		return math.NaN()
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// report is all that a run found.
type report struct {
	Date    string            `json:"date"`
	Machine map[string]string `json:"machine"`
	Method  string            `json:"method"`

	Comparisons []comparison `json:"comparisons"`
	Figures     []figure     `json:"figures"`

	options options
}

func newReport(o options) *report {
	return &report{
		Date: time.Now().UTC().Format(time.DateOnly), Machine: map[string]string{}, options: o,
		Method: fmt.Sprintf("requests from a container, %d pairs of %s slices, %d connections, %d starts", o.pairs, o.slice, connections, o.starts),
	}
}

func (r *report) compared(c comparison) {
	r.Comparisons = append(r.Comparisons, c)
	progress("  %.2f of the bare handler (%.0f of %.0f requests a second)", c.Ratio, c.Program.PerSecond, c.Bare.PerSecond)
}

func (r *report) add(figures ...figure) {
	r.Figures = append(r.Figures, figures...)
	for _, f := range figures {
		progress("  %s: %s", f.What, f.value())
	}
}

// describe notes what it runs on.
func (r *report) describe(ctx context.Context, w *world) error {
	version, err := w.api.ServerVersion(ctx)
	if err != nil {
		return fmt.Errorf("ask the Docker engine for its version: %w", err)
	}
	others, err := w.api.ContainerList(ctx, container.ListOptions{All: true})
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	r.Machine = map[string]string{
		"arch":            runtime.GOARCH,
		"cores":           strconv.Itoa(runtime.NumCPU()),
		"engine":          version.Version,
		"go":              strings.TrimPrefix(runtime.Version(), "go"),
		"loadAverage":     loadAverage(),
		"otherContainers": strconv.Itoa(len(others)),
		"system":          system(),
	}
	return nil
}

// system is the name of the operating system.
func system() string {
	release, _ := os.ReadFile("/etc/os-release")
	for line := range strings.Lines(string(release)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
			return strings.Trim(name, `"`)
		}
	}
	return runtime.GOOS
}

// loadAverage is what the machine was busy with in the minute before the run.
func loadAverage() string {
	text, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(text), " ")
	return cmp.Or(first, "unknown")
}

// write prints the report and writes the files that were asked for.
func (r *report) write(out io.Writer) error {
	if len(r.Comparisons)+len(r.Figures) == 0 {
		return nil
	}
	r.flat()
	var text bytes.Buffer
	r.markdown(&text)
	_, err := out.Write(text.Bytes())
	if r.options.jsonTo != "" {
		encoded, encodeErr := json.MarshalIndent(r, "", "  ")
		err = errors.Join(err, encodeErr, os.WriteFile(r.options.jsonTo, append(encoded, '\n'), 0o600))
	}
	if r.options.docTo != "" {
		err = errors.Join(err, intoDocument(r.options.docTo, text.Bytes()))
	}
	return err
}

// flat adds how much the number of containers matters: by how much the ratio
// is lower with most than with fewest.
func (r *report) flat() {
	for _, path := range []string{rowV3.name, rowV4.name, rowTask.name} {
		of := slices.DeleteFunc(slices.Clone(r.Comparisons), func(c comparison) bool { return c.Work != path })
		if len(of) < 2 {
			continue
		}
		few, many := of[0], of[len(of)-1]
		r.Figures = append(r.Figures, newFigure(
			fmt.Sprintf("%s: ratio lower than with %d", path, few.Containers), many.Containers, "%", 10,
			[]float64{max(0, 1-many.Ratio/few.Ratio) * 100}))
	}
}

func (r *report) markdown(b *bytes.Buffer) {
	fmt.Fprintf(b, "%s, %s cores (%s), Docker engine %s, Go %s; %s. Before the run: %s other containers on the engine, load average %s. Method: %s.\n\n",
		r.Machine["system"], r.Machine["cores"], r.Machine["arch"], r.Machine["engine"], r.Machine["go"], r.Date,
		r.Machine["otherContainers"], r.Machine["loadAverage"], r.Method)
	if len(r.Comparisons) > 0 {
		b.WriteString("| Work | Containers | Bytes | ecs-local, requests/s | bare, requests/s | Ratio: median (lowest–highest) | Must reach | | Processor time per request, ecs-local / bare |\n")
		b.WriteString("|---|--:|--:|--:|--:|---|---|---|---|\n")
	}
	for _, c := range r.Comparisons {
		fmt.Fprintf(b, "| %s | %d | %d | %.0f | %.0f | **%.2f** (%.2f–%.2f) | %s | %s | %.0f / %.0f µs |\n",
			c.Work, c.Containers, c.Bytes, c.Program.PerSecond, c.Bare.PerSecond, c.Ratio, c.Lowest, c.Highest,
			target("≥ %.2f", c.MustReach), verdict(c.MustReach, c.Missed), c.Program.PerRequest, c.Bare.PerRequest)
	}
	if len(r.Figures) > 0 {
		b.WriteString("\n| What | Containers | Figure | Must reach | |\n|---|--:|---|---|---|\n")
	}
	for _, f := range r.Figures {
		note := ""
		if f.Note != "" {
			note = "; " + f.Note
		}
		fmt.Fprintf(b, "| %s | %d | %s%s | %s | %s |\n", f.What, f.Containers, f.value(), note,
			target("≤ "+f.format(), f.AtMost), verdict(f.AtMost, f.Missed))
	}
}

// format is that of a number of its unit.
func (f figure) format() string {
	switch f.Unit {
	case "":
		return "%.4g"
	case "%":
		return "%.0f %%"
	default:
		return "%.1f " + f.Unit
	}
}

// value is the median, with lowest and highest if there are several values.
func (f figure) value() string {
	text := "**" + fmt.Sprintf(f.format(), f.Value) + "**"
	if len(f.Values) > 1 {
		text += fmt.Sprintf(" (%.1f–%.1f)", slices.Min(f.Values), slices.Max(f.Values))
	}
	return text
}

func target(format string, value float64) string {
	if value == 0 {
		return ""
	}
	return fmt.Sprintf(format, value)
}

func verdict(target float64, missed bool) string {
	switch {
	case target == 0:
		return ""
	case missed:
		return "missed"
	default:
		return "reached"
	}
}

// The marks between which the tables stand in a document.
const (
	markBegin = "<!-- bench: begin -->\n"
	markEnd   = "<!-- bench: end -->"
)

// intoDocument replaces what stands between the marks.
func intoDocument(path string, tables []byte) error {
	document, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read document: %w", err)
	}
	before, rest, begun := bytes.Cut(document, []byte(markBegin))
	_, after, ended := bytes.Cut(rest, []byte(markEnd))
	if !begun || !ended {
		return fmt.Errorf("%s has no line %q followed by %q", path, strings.TrimSpace(markBegin), markEnd)
	}
	whole := slices.Concat(before, []byte(markBegin), []byte("\n"), tables, []byte("\n"), []byte(markEnd), after)
	if err := os.WriteFile(path, whole, 0o644); err != nil { //nolint:gosec // a document that everybody reads
		return fmt.Errorf("write document: %w", err)
	}
	return nil
}
