package metadata

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/local"
)

func overrides(t *testing.T, text string) *Overrides {
	t.Helper()
	o, err := ParseOverrides("overrides.json", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestOverrides(t *testing.T) {
	t.Parallel()
	const doc = `{"Name":"web","Labels":{"a":"1","b":"2"},"Limits":{"CPU":2,"Memory":0},"Networks":[{"NetworkMode":"bridge"}],"Note":"a\u003cb"}`
	tests := map[string]struct{ patch, want string }{
		"nothing":                      {`{}`, doc},
		"a value stays in its place":   {`{"Labels": "none", "Name": "cats"}`, `{"Name":"cats","Labels":"none","Limits":{"CPU":2,"Memory":0},"Networks":[{"NetworkMode":"bridge"}],"Note":"a\u003cb"}`},
		"new keys come last, in order": {`{"Z": 1, "A": 2}`, strings.TrimSuffix(doc, "}") + `,"Z":1,"A":2}`},
		"objects merge":                {`{"Labels": {"c": "3", "a": "9"}, "Limits": {"Memory": 512}}`, `{"Name":"web","Labels":{"a":"9","b":"2","c":"3"},"Limits":{"CPU":2,"Memory":512},"Networks":[{"NetworkMode":"bridge"}],"Note":"a\u003cb"}`},
		"lists are replaced":           {`{"Networks": [ { "NetworkMode" : "awsvpc" }, null ]}`, `{"Name":"web","Labels":{"a":"1","b":"2"},"Limits":{"CPU":2,"Memory":0},"Networks":[{"NetworkMode":"awsvpc"},null],"Note":"a\u003cb"}`},
		"null removes":                 {`{"Labels": {"a": null}, "Networks": null, "Limits": null, "Absent": null}`, `{"Name":"web","Labels":{"b":"2"},"Note":"a\u003cb"}`},
		"the last key is removed":      {`{"Labels": {"a": null, "b": null}}`, `{"Name":"web","Labels":{},"Limits":{"CPU":2,"Memory":0},"Networks":[{"NetworkMode":"bridge"}],"Note":"a\u003cb"}`},
		"an object for a value":        {`{"Name": {"x": {"y": null, "z": 1}}}`, `{"Name":{"x":{"z":1}},"Labels":{"a":"1","b":"2"},"Limits":{"CPU":2,"Memory":0},"Networks":[{"NetworkMode":"bridge"}],"Note":"a\u003cb"}`},
		"a value for an object":        {`{"Labels": 5, "Limits": []}`, `{"Name":"web","Labels":5,"Limits":[],"Networks":[{"NetworkMode":"bridge"}],"Note":"a\u003cb"}`},
		"bytes stay as written":        {`{"Name": "<\u0026>é\/", "Big": 12345678901234567890, "Exp": 1E+400, "Zero": 0.10, "K\u0065y": true}`, `{"Name":"<\u0026>é\/","Labels":{"a":"1","b":"2"},"Limits":{"CPU":2,"Memory":0},"Networks":[{"NetworkMode":"bridge"}],"Note":"a\u003cb","Big":12345678901234567890,"Exp":1E+400,"Zero":0.10,"K\u0065y":true}`},
		"keys are equal decoded":       {`{"N\u0061me": "cats"}`, strings.Replace(doc, `"web"`, `"cats"`, 1)},
		"keys are not folded":          {`{"name": "cats"}`, strings.TrimSuffix(doc, "}") + `,"name":"cats"}`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := overrides(t, test.patch)
			for range 2 { // the second time shows whether the first changed the overrides
				if got := string(must(t)(o.apply([]byte(doc), nil))); got != test.want {
					t.Errorf("got  %s\nwant %s", got, test.want)
				}
			}
		})
	}
}

// TestOverridesOfDocuments uses the files of the examples of
// amazon-ecs-local-container-endpoints.
func TestOverridesOfDocuments(t *testing.T) {
	t.Parallel()
	r := New(Options{
		ContainerOverrides: overrides(t, `{
    "NewKey": "NewValue",
    "Name": "cats",
    "CAT": "miss him",
    "CAT__*__CAT": "YUP",
    "Labels": {"team": "cats"},
    "Networks": [{"NetworkMode": "awsvpc", "IPv4Addresses": ["10.0.0.61"], "SubnetGatewayIpv4Address": ""}]
}
`),
		TaskOverrides: overrides(t, `{
  "Cluster": "arn:aws:ecs:us-west-2:111122223333:cluster/default",
  "Limits": {"CPU": 0.25},
  "PullStartedAt": "2020-03-26T22:25:40.420726088Z",
  "AvailabilityZone": "us-west-2c"
}
`),
	})
	ok := must(t)
	shop := task(web(), redis())
	for family, v := range map[string]Version{"v3": V3, "v4": V4} {
		golden(t, "overridden-container-"+family, ok(r.Container(v, shop, web())))
		golden(t, "overridden-task-"+family, ok(r.Task(v, shop, false)))
		golden(t, "overridden-empty-task-"+family, ok(r.Task(v, task(), false)))
	}
}

// TestOverridesKeepTheAgentsOrder adds keys that the documents lack, and that
// the agent has.
func TestOverridesKeepTheAgentsOrder(t *testing.T) {
	t.Parallel()
	ok := must(t)
	r := New(Options{
		ContainerOverrides: overrides(t, `{"New": 1, "Snapshotter": "soci", "Volumes": [], "ExitCode": 3, "Ports": [], "Name": "cats"}`),
		TaskOverrides:      overrides(t, `{"New": 1, "Group": "family:shop", "Errors": [], "PullStoppedAt": "2026-06-30T17:02:03Z", "PullStartedAt": "2026-06-30T17:01:58Z", "Limits": null}`),
	})
	shop := task(web(func(c *local.Container) { c.Ports = nil }))
	for v, want := range map[Version][2]string{
		V2: {`DockerId Name DockerName Image ImageID Ports Labels DesiredStatus KnownStatus ExitCode Limits CreatedAt StartedAt Type Networks Health Volumes New Snapshotter`,
			`Cluster TaskARN Family Revision DesiredStatus KnownStatus Containers PullStartedAt PullStoppedAt AvailabilityZone New Group Errors`},
		V3: {`DockerId Name DockerName Image ImageID Ports Labels DesiredStatus KnownStatus ExitCode Limits CreatedAt StartedAt Type Networks Health Volumes New Snapshotter`,
			`Cluster TaskARN Family Revision DesiredStatus KnownStatus Containers PullStartedAt PullStoppedAt AvailabilityZone New Group Errors`},
		V4: {`DockerId Name DockerName Image ImageID Ports Labels DesiredStatus KnownStatus ExitCode Limits CreatedAt StartedAt Type Health Volumes LogDriver LogOptions ContainerARN Networks Snapshotter New`,
			`Cluster TaskARN Family Revision DesiredStatus KnownStatus PullStartedAt PullStoppedAt AvailabilityZone LaunchType Errors Containers VPCID ServiceName Group FaultInjectionEnabled AvailabilityZoneID New`},
	} {
		body := ok(r.Task(v, shop, false))
		var containers []json.RawMessage
		if err := json.Unmarshal(keys(t, body)["Containers"], &containers); err != nil || len(containers) != 1 {
			t.Fatalf("version %d: %v in %s", v, err, body)
		}
		for _, container := range [][]byte{containers[0], ok(r.Container(v, shop, shop.Containers[0]))} {
			if diff := cmp.Diff(strings.Fields(want[0]), keyOrder(t, container)); diff != "" {
				t.Errorf("version %d: keys of a container (-want +got):\n%s", v, diff)
			}
		}
		if diff := cmp.Diff(strings.Fields(want[1]), keyOrder(t, body)); diff != "" {
			t.Errorf("version %d: keys of a task (-want +got):\n%s", v, diff)
		}
	}
}

func TestTaskOverridesComeAfterThoseOfContainers(t *testing.T) {
	t.Parallel()
	r := New(Options{
		ContainerOverrides: overrides(t, `{"Name": "cats"}`),
		TaskOverrides:      overrides(t, `{"Containers": []}`),
	})
	body := string(must(t)(r.Task(V4, task(web()), false)))
	if !strings.Contains(body, `"Containers":[]`) {
		t.Errorf("the task's own list of containers is not there: %s", body)
	}
}

func TestParseOverridesSaysWhere(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ text, want string }{
		"empty":                 {"", "o.json:1: the file is empty"},
		"blank":                 {"\n \n", "o.json:1: the file is empty"},
		"a list":                {"\n\n[\n1]", "o.json:3: this is not a JSON object"},
		"a string":              {`"x"`, "o.json:1: this is not a JSON object"},
		"null":                  {"\nnull\n", "o.json:2: this is not a JSON object"},
		"comma at the end":      {"{\n\"a\": 1,\n}\n", "o.json:3: this is not JSON: invalid character '}'"},
		"comma missing":         {"{\n\"a\": 1\n\"b\": 2\n}\n", "o.json:3: this is not JSON: invalid character '\"' after object key:value pair"},
		"cut off":               {"{\n\"a\": {\n\"b\": 2\n\n\n", "o.json:3: this is not JSON: unexpected end"},
		"line break in string":  {"{\n\"a\": \"x\n\"}", "o.json:2: this is not JSON: invalid character '\\n' in string"},
		"trailing data":         {"{\"a\": 1}\n\n{}", "o.json:3: this is not JSON: invalid character '{' after top-level value"},
		"a comment":             {"{\n// no\n}", "o.json:2: this is not JSON: invalid character '/'"},
		"key twice":             {"{\n\"a\": 1,\n\"b\": 2,\n\"a\": 3\n}", `o.json:4: the key "a" is here a second time`},
		"key twice, spelled":    {"{\"a\": 1,\n\"\\u0061\": 3}", `o.json:2: the key "a" is here a second time`},
		"key twice in object":   {"{\"x\": {\"a\": 1,\n\n\"a\": 3}}", `o.json:3: the key "a" is here a second time`},
		"key twice in a list":   {"{\"x\": [1, {\"a\": 1,\n\"a\": 3}]}", `o.json:2: the key "a" is here a second time`},
		"not UTF-8":             {"{\n\"a\": \"\xff\"}", "o.json:2: the file is not UTF-8"},
		"Windows line ends":     {"{\r\n\"a\": 1,\r\n\"a\": 2}\r\n", `o.json:3: the key "a" is here a second time`},
		"too deep":              {strings.Repeat("[", 10_001), "o.json:1: this is not JSON: invalid character '[' exceeded max depth"},
		"deeper than a task is": {"{\n\"a\":\n" + strings.Repeat("[\n", 999) + "{}" + strings.Repeat("]", 999) + "}", "o.json:1002: this is nested more than 1000 deep"},
		"a number with a zero":  {"{\"a\":\n\n01}", "o.json:3: this is not JSON: invalid character '1'"},
		"key without its value": {"{\"a\"\n}", "o.json:2: this is not JSON: invalid character '}' after object key"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, err := ParseOverrides("o.json", []byte(test.text))
			if err == nil {
				t.Fatalf("accepted: %v", o)
			}
			if !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("got  %s\nwant %s…", err, test.want)
			}
			if code := local.CodeOf(err); code != local.Invalid {
				t.Errorf("code %s, want %s", code, local.Invalid)
			}
		})
	}
}

// FuzzOverrides checks for every file that is accepted: the documents stay
// JSON, each key of the file has its value at its place, and applying twice
// changes nothing more.
func FuzzOverrides(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"Name":"cats","New":{"a":[1,{"b":null}],"c":null}}`, `{"Labels":{"a":null,"<":"&"},"Limits":null}`,
		`{"Networks":[]}`, `{"Containers":[{"Name":"x"}]}`, `{"":1e999,"K\u0065y":"\ud800"}`, "{\"a\"\t:\r\n[ ]\n}", `{"Limits":{"CPU":{"x":1}}}`,
		`{"a":1,"a":2}`, `[1]`, `{"a":1,}`, `{"a":` + strings.Repeat("[", 9998) + strings.Repeat("]", 9998) + `}`,
		`{"a":` + strings.Repeat("[", 999) + strings.Repeat("]", 999) + `}`,
	} {
		f.Add([]byte(seed))
	}
	shop := task(web(), redis(stopped))
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := ParseOverrides("o.json", data)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "o.json:") {
				t.Fatalf("no file in %q", err)
			}
			return
		}
		r := New(Options{ContainerOverrides: o, TaskOverrides: o})
		for _, v := range []Version{V3, V4} {
			for _, doc := range [][]byte{must(t)(r.Container(v, shop, shop.Containers[0])), must(t)(r.Task(v, shop, true))} {
				if !json.Valid(doc) {
					t.Fatalf("not JSON: %s", doc)
				}
				if again := must(t)(o.apply(doc, nil)); !bytes.Equal(again, doc) {
					t.Fatalf("applied twice:\n%s\n%s", doc, again)
				}
				got, fault := parse(doc)
				if fault != nil {
					t.Fatalf("%s: %s", fault.reason, doc)
				}
				for _, m := range o.patch {
					i := got.index(m.name)
					switch {
					case m.isNull():
						if i >= 0 {
							t.Fatalf("%q is still there: %s", m.name, doc)
						}
					case i < 0:
						t.Fatalf("%q is missing: %s", m.name, doc)
					case !m.isObject && !slices.Equal(got[i].value, m.value):
						t.Fatalf("%q is %s, want %s", m.name, got[i].value, m.value)
					}
				}
			}
		}
	})
}
