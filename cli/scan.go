package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/time/rate"

	"github.com/ecs-local/ecs-local/local/scan"
)

// scanCommand is "ecs-local scan".
type scanCommand struct {
	imdsFlags
	Watch       bool          `help:"Scan again and again, and print what changes."`
	Interval    time.Duration `default:"15m" help:"Time between two scans (${default})."`
	Rate        float64       `default:"10" help:"Requests a second (${default})."`
	Output      string        `enum:"table,json" default:"table" help:"table or json; with --watch one JSON document a line."`
	ShowSecrets bool          `help:"Print keys and tokens as they are."`
}

// Run scans once, or until it is interrupted.
func (c scanCommand) Run(ctx context.Context, env environment) error {
	switch {
	case !(c.Rate > 0): // what is not a number, too
		return misuse{fmt.Errorf("--rate %v: give a number above 0", c.Rate)}
	case c.Interval <= 0:
		return misuse{fmt.Errorf("--interval %v: give a time above 0", c.Interval)}
	}
	client, err := c.client(ctx, env)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(env.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	scanner := scan.New(scan.Options{Client: client, Limiter: rate.NewLimiter(rate.Limit(c.Rate), 1), Log: log})
	said, printed, table := "", false, scanTable{w: env.stdout}
	for {
		result, err := scanner.Scan(ctx)
		if ctx.Err() != nil && c.Watch {
			return nil
		}
		if !printed && err == nil || changed(result) {
			if err := c.print(&table, newScanDocument(result, c.ShowSecrets)); err != nil {
				return err
			}
			printed = true
		}
		if !c.Watch && err != nil {
			return err
		}
		said = complain(env, said, result, err)
		if !c.Watch {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(c.Interval):
		}
	}
}

// changed reports whether a scan found something that the one before did not.
func changed(r scan.Result) bool {
	return len(r.Credentials)+len(r.Denied)+len(r.Gone)+len(r.GoneNamespaces) > 0
}

// complain prints what failed unless that has been said already, and returns
// it.
func complain(env environment, said string, r scan.Result, err error) string {
	var text strings.Builder
	if err != nil {
		fmt.Fprintln(&text, "ecs-local:", err)
	} else {
		for _, f := range r.Failures {
			fmt.Fprintln(&text, "ecs-local:", f)
		}
	}
	if text.String() != said {
		fmt.Fprint(env.stderr, text.String())
	}
	return text.String()
}

// scanDocument is what a scan found.
type scanDocument struct {
	Namespaces     []string         `json:"namespaces"`
	Credentials    []scanCredential `json:"credentials"` // new or changed
	Denied         []scanEntry      `json:"denied"`
	Failures       []scanFailure    `json:"failures"`
	Gone           []scanEntry      `json:"gone"`
	GoneNamespaces []string         `json:"goneNamespaces"`
	Requests       int              `json:"requests"`
}

type scanEntry struct {
	Namespace string `json:"namespace"`
	TaskID    string `json:"taskId"`
	RoleType  string `json:"roleType"`
	RoleARN   string `json:"roleArn,omitempty"`
}

type scanCredential struct {
	scanEntry
	AccessKeyID     string    `json:"accessKeyId"`
	SecretAccessKey string    `json:"secretAccessKey"`
	Token           string    `json:"token"`
	Expiration      time.Time `json:"expiration"`
}

type scanFailure struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name,omitempty"`
	Error     string `json:"error"`
}

func newScanDocument(r scan.Result, show bool) scanDocument {
	d := scanDocument{
		Namespaces: nonNil(r.Namespaces), Credentials: []scanCredential{}, Denied: []scanEntry{}, Failures: []scanFailure{},
		Gone: []scanEntry{}, GoneNamespaces: nonNil(r.GoneNamespaces), Requests: r.Requests,
	}
	mask := masked
	if show {
		mask = func(s string) string { return s }
	}
	for _, c := range r.Credentials {
		d.Credentials = append(d.Credentials, scanCredential{
			scanEntry: newScanEntry(c.Entry), AccessKeyID: mask(c.Credentials.AccessKeyID), SecretAccessKey: mask(c.Credentials.SecretAccessKey),
			Token: mask(c.Credentials.SessionToken), Expiration: c.Credentials.Expiration,
		})
	}
	for _, e := range r.Denied {
		d.Denied = append(d.Denied, newScanEntry(e))
	}
	for _, e := range r.Gone {
		d.Gone = append(d.Gone, newScanEntry(e))
	}
	for _, f := range r.Failures {
		d.Failures = append(d.Failures, scanFailure{Namespace: f.Namespace, Name: f.Name, Error: f.Err.Error()})
	}
	return d
}

func newScanEntry(e scan.Entry) scanEntry {
	return scanEntry{Namespace: e.Namespace, TaskID: e.TaskID, RoleType: e.RoleType, RoleARN: e.RoleARN}
}

func nonNil(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

// masked shows the last four characters, by which keys can be told apart.
func masked(s string) string {
	const shown = 4
	if len(s) < 4*shown {
		return "****"
	}
	return "****" + s[len(s)-shown:]
}

func (c scanCommand) print(t *scanTable, d scanDocument) error {
	if c.Output == "json" {
		e := json.NewEncoder(t.w)
		if !c.Watch {
			e.SetIndent("", "  ")
		}
		e.SetEscapeHTML(false)
		return e.Encode(d)
	}
	var rows [][]string
	if t.widths == nil {
		rows = append(rows, []string{"NAMESPACE", "TASK", "ROLE TYPE", "STATE", "ROLE", "ACCESS KEY", "SECRET KEY", "TOKEN", "EXPIRES"})
	}
	for _, e := range d.Credentials {
		rows = append(rows, e.row("delivered", e.AccessKeyID, e.SecretAccessKey, e.Token, e.Expiration.Format(time.RFC3339)))
	}
	for _, e := range d.Denied {
		rows = append(rows, e.row("denied", "-", "-", "-", "-"))
	}
	for _, e := range d.Gone {
		rows = append(rows, e.row("gone", "-", "-", "-", "-"))
	}
	return t.print(rows)
}

// row is a line about an entry.
func (e scanEntry) row(state string, keys ...string) []string {
	return append([]string{e.Namespace, e.TaskID, e.RoleType, state, dash(e.RoleARN)}, keys...)
}

// scanTable writes rows below each other, also those that come later.
type scanTable struct {
	w      io.Writer
	widths []int // of the columns so far; nil before the first rows
}

func (t *scanTable) print(rows [][]string) error {
	for _, row := range rows {
		for i, cell := range row {
			row[i] = scan.Printable(cell)
			if i == len(t.widths) {
				t.widths = append(t.widths, 0)
			}
			t.widths[i] = max(t.widths[i], utf8.RuneCountInString(row[i]))
		}
	}
	var text strings.Builder
	for _, row := range rows {
		line := ""
		for i, cell := range row {
			line += cell + strings.Repeat(" ", t.widths[i]-utf8.RuneCountInString(cell)+2)
		}
		text.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	_, err := io.WriteString(t.w, text.String())
	return err
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
