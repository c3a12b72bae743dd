package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ecs-local/ecs-local/local/scan"
)

// statusCommand is "ecs-local status".
type statusCommand struct {
	controlFlags
	Output string `enum:"table,json" default:"table" help:"table or json (${default})."`
}

// statusParts are the parts of the status, and where the control API has them.
var statusParts = []struct{ name, path string }{
	{"status", "/v1/status"}, {"tasks", "/v1/tasks"}, {"protection", "/v1/protection"}, {"faults", "/v1/faults/network"},
}

// serverStatus is the part of GET /v1/status that the table shows.
type serverStatus struct {
	Version, Runtime, Region, Faults string
	Strict                           bool
	Started                          time.Time
	Listen                           map[string]string
	Credentials                      struct {
		Mode, Identity, Account, Error string
		MFA                            *struct {
			Serial string
			Needed bool
			Until  time.Time
		}
	}
	Config *struct{ File, Error string }
}

// Run asks the control API for everything that it shows.
func (c statusCommand) Run(ctx context.Context, env environment) error {
	parts := map[string]json.RawMessage{}
	for _, part := range statusParts {
		var answer []byte
		if err := c.call(ctx, http.MethodGet, part.path, nil, &answer); err != nil {
			return err
		}
		parts[part.name] = answer
	}
	if c.Output == "json" {
		encoded, err := json.MarshalIndent(parts, "", "  ")
		if err != nil {
			return fmt.Errorf("encode the status: %w", err)
		}
		_, err = fmt.Fprintf(env.stdout, "%s\n", encoded)
		return err
	}
	var (
		status     serverStatus
		tasks      []knownTask
		protection []protectedTask
		faults     []runningFault
	)
	for name, to := range map[string]any{"status": &status, "tasks": &tasks, "protection": &protection, "faults": &faults} {
		if err := json.Unmarshal(parts[name], to); err != nil {
			return fmt.Errorf("the server's %s is not what this version of ecs-local knows: use the same version for both (%w)", name, err)
		}
	}
	var text bytes.Buffer
	status.print(&text)
	printTasks(&text, tasks, protection, faults)
	_, err := text.WriteTo(env.stdout)
	return err
}

func (s serverStatus) print(w io.Writer) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(table, "%s\t%s\n", name, scan.Printable(fmt.Sprintf(format, args...)))
	}
	row("version", "%s, running for %s", s.Version, time.Since(s.Started).Round(time.Second))
	row("containers", "%s", s.Runtime)
	if s.Strict {
		row("strict", "only what the ECS agent answers")
	}
	if s.Faults == faultsApplied {
		row("faults", "real")
	}
	for _, name := range []string{"ecs", "tls", "control", "introspection"} {
		if address := s.Listen[name]; address != "" {
			row(name, "%s", address)
		}
	}
	who := s.Credentials.Identity
	if who == "" && s.Credentials.Account != "" {
		who = "account " + s.Credentials.Account
	}
	if who != "" {
		who = ", " + who
	}
	row("credentials", "%s%s", s.Credentials.Mode, who)
	if s.Credentials.Error != "" {
		row("", "%s", s.Credentials.Error)
	}
	if m := s.Credentials.MFA; m != nil {
		if m.Needed {
			row("MFA", "%s: give a code with ecs-local mfa CODE", m.Serial)
		} else {
			row("MFA", "%s, until %s", m.Serial, m.Until.Local().Format(time.DateTime))
		}
	}
	if s.Config != nil {
		row("configuration", "%s", s.Config.File)
		if s.Config.Error != "" {
			row("", "a newer version is refused: %s", s.Config.Error)
		}
	}
	table.Flush()
}

// printTasks prints one line for each container, with what belongs to its task
// at the first.
func printTasks(w io.Writer, tasks []knownTask, protection []protectedTask, faults []runningFault) {
	if len(tasks) == 0 {
		fmt.Fprintln(w, "\nno tasks")
		return
	}
	fmt.Fprintln(w)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "TASK\tCONTAINER\tSTATE\tADDRESS\tROLE CREDENTIALS\tPROTECTED UNTIL\tFAULTS")
	for _, t := range tasks {
		for i, c := range t.Containers {
			name, path, until, faulty := "", "", "", ""
			if i == 0 {
				name, path = t.Name, t.Credentials["TaskApplication"]
				until, faulty = protectedUntil(protection, t.ARN), faultsOf(faults, t.ARN)
			}
			cells := []string{name, c.DockerName, c.State, c.address(), dash(path), dash(until), dash(faulty)}
			for i, cell := range cells {
				cells[i] = scan.Printable(cell) // a label may hold anything
			}
			fmt.Fprintln(table, strings.Join(cells, "\t"))
		}
	}
	table.Flush()
}

// address returns the container's addresses, sorted by network.
func (c knownContainer) address() string {
	var all []string
	for network := range c.Addresses {
		all = append(all, network)
	}
	slices.Sort(all)
	for i, network := range all {
		all[i] = c.Addresses[network]
	}
	return dash(strings.Join(all, " "))
}

// protectedTask is a task of GET /v1/protection.
type protectedTask struct {
	TaskARN           string
	ProtectionEnabled bool
	ExpirationDate    *time.Time
	Refuse            string
}

// protectedUntil says until when a task is protected from scale-in.
func protectedUntil(all []protectedTask, arn string) string {
	for _, p := range all {
		if p.TaskARN != arn {
			continue
		}
		var said []string
		if p.ProtectionEnabled && p.ExpirationDate != nil {
			said = append(said, p.ExpirationDate.Local().Format(time.DateTime))
		}
		if p.Refuse != "" && p.Refuse != "none" {
			said = append(said, "refuses: "+p.Refuse)
		}
		return strings.Join(said, ", ")
	}
	return ""
}

// runningFault is a fault of GET /v1/faults/network.
type runningFault struct{ Type, TaskARN string }

// faultsOf names the network faults of a task.
func faultsOf(all []runningFault, arn string) string {
	var names []string
	for _, f := range all {
		if f.TaskARN == arn && !slices.Contains(names, f.Type) {
			names = append(names, f.Type)
		}
	}
	return strings.Join(names, ", ")
}
