package config_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/config"
)

// addresses compares netip values by what they are.
var addresses = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func parse(t *testing.T, text string) *config.File {
	t.Helper()
	f, err := config.Parse("ecs-local.yaml", []byte(text))
	if err != nil {
		t.Fatalf("got error:\n%v", err)
	}
	return f
}

const example = `
cluster: demo
tasks:                        # runtime static, or extra facts about Compose projects
  shop:
    family: shop
    revision: "7"
    task-role: arn:aws:iam::111122223333:role/shop-web-task
    containers:
      web: { image: "shop/web:1.4.2", memory: 512 }
`

const everything = `
cluster: arn:aws:ecs:eu-central-1:111122223333:cluster/demo
region: eu-central-1
account-id: 012345678901
container-instance-tags: { Owner: no, Cost: 1.10, Empty: "" }
vpc-id: vpc-05bcc4ceabe1df195
tasks:
  shop:
    family: shop_family
    revision: 12
    arn: arn:aws:ecs:eu-central-1:111122223333:task/demo/158d1c8083dd49d6b527399fd6414f5c
    cluster: other
    service-name: shop-service
    launch-type: FARGATE
    network-mode: awsvpc
    ephemeral-storage: 40
    ephemeral-storage-utilized: 281
    clock-error-bound: 0.75
    clock-synchronization-status: NOT_SYNCHRONIZED
    snapshotter: soci
    associations:
      - { type: gpu, name: GPU-1f0a2b3c, containers: [web, db, web] }
      - type: elastic-inference
        name: eia1/main
        content: |
          not JSON
    availability-zone: eu-central-1b
    availability-zone-id: euc1-az3
    cpu: 0.25
    memory: 2048
    task-role: team/shop
    execution-role: arn:aws:iam::111122223333:role/ecsTaskExecutionRole
    tags: { Name: shop }
    containers:
      web:
        image: shop/web:1.4.2
        image-id: sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
        cpu: 256
        memory: 512
        labels: { com.example.version: 7 }
        ports: [80, "8080:81", "127.0.0.1:53:53/udp", "[::1]:9000:90"]
        ipv4-address: 172.18.0.3
      db: {}
  mail:
`

func TestFile(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		text string
		want *config.File
	}{
		{"the example of the documentation", example, &config.File{
			Cluster: "demo",
			Tasks: []config.Task{{
				Name:       "shop",
				Facts:      local.TaskFacts{Family: "shop", Revision: "7", TaskRole: "arn:aws:iam::111122223333:role/shop-web-task"},
				Containers: []config.Container{{Name: "web", Image: "shop/web:1.4.2", Memory: 512}},
			}},
		}},
		{"every key", everything, &config.File{
			Cluster:      "arn:aws:ecs:eu-central-1:111122223333:cluster/demo",
			Region:       "eu-central-1",
			Account:      "012345678901",
			InstanceTags: map[string]string{"Owner": "no", "Cost": "1.10", "Empty": ""},
			VPCID:        "vpc-05bcc4ceabe1df195",
			Tasks: []config.Task{
				{
					Name: "shop",
					Facts: local.TaskFacts{
						ARN:         "arn:aws:ecs:eu-central-1:111122223333:task/demo/158d1c8083dd49d6b527399fd6414f5c",
						Cluster:     "other",
						Family:      "shop_family",
						Revision:    "12",
						ServiceName: "shop-service",
						LaunchType:  "FARGATE",
						NetworkMode: "awsvpc",
						Fargate: local.Fargate{
							EphemeralStorage: 40, StorageUtilized: 281, ClockErrorBound: 0.75, ClockStatus: "NOT_SYNCHRONIZED", Snapshotter: "soci",
						},
						Associations: []local.Association{
							{Type: "gpu", Name: "GPU-1f0a2b3c", Containers: []string{"web", "db"}},
							{Type: "elastic-inference", Name: "eia1/main", Content: "not JSON\n"},
						},
						AvailabilityZone: "eu-central-1b",
						ZoneID:           "euc1-az3",
						CPU:              0.25,
						Memory:           2048,
						TaskRole:         "team/shop",
						ExecutionRole:    "arn:aws:iam::111122223333:role/ecsTaskExecutionRole",
						Tags:             map[string]string{"Name": "shop"},
					},
					Containers: []config.Container{
						{
							Name:    "web",
							Image:   "shop/web:1.4.2",
							ImageID: "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
							CPU:     256,
							Memory:  512,
							Labels:  map[string]string{"com.example.version": "7"},
							Ports: []local.Port{
								{Container: 80, Host: 80, Protocol: "tcp"},
								{Container: 81, Host: 8080, Protocol: "tcp"},
								{Container: 53, Host: 53, HostIP: "127.0.0.1", Protocol: "udp"},
								{Container: 90, Host: 9000, HostIP: "::1", Protocol: "tcp"},
							},
							Address: netip.MustParseAddr("172.18.0.3"),
						},
						{Name: "db"},
					},
				},
				{Name: "mail"},
			},
		}},
		{"an empty file", "", &config.File{}},
		{"only comments", "# nothing yet\n", &config.File{}},
		{"lists with nothing in them", "tasks:\n  shop:\n    associations:\n    containers:\n      web:\n        ports:\n",
			&config.File{Tasks: []config.Task{{Name: "shop", Containers: []config.Container{{Name: "web"}}}}}},
		{"a document without content", "---\n...\n", &config.File{}},
		{"a key with nothing under it", "tasks:\n  # shop:\n", &config.File{}},
		{"aliases and merged maps, of which the map itself and then the first wins", `
tasks:
  one: &one { family: one, revision: 1, launch-type: EC2 }
  two: *one
  three:
    <<: [{ revision: 3 }, *one]
    family: three
`, &config.File{Tasks: []config.Task{
			{Name: "one", Facts: local.TaskFacts{Family: "one", Revision: "1", LaunchType: "EC2"}},
			{Name: "two", Facts: local.TaskFacts{Family: "one", Revision: "1", LaunchType: "EC2"}},
			{Name: "three", Facts: local.TaskFacts{Family: "three", Revision: "3", LaunchType: "EC2"}},
		}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, parse(t, test.text), addresses); diff != "" {
				t.Errorf("got the wrong file (-want +got):\n%s", diff)
			}
		})
	}
}

// The file that the documentation shows is a good one.
func TestDocumentedFile(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(page), "## The configuration file\n")
	_, after, fenced := strings.Cut(after, "```yaml\n")
	text, _, ended := strings.Cut(after, "```")
	if !found || !fenced || !ended {
		t.Fatal("docs/configuration.md shows no file under \"The configuration file\"")
	}
	if f := parse(t, text); len(f.Tasks) == 0 {
		t.Errorf("got a file without tasks from\n%s", text)
	}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	const names = "cluster, region, account-id, container-instance-tags, vpc-id, tasks, roles, imds"
	for _, test := range []struct {
		name string
		text string
		want string // without the file's name
	}{
		{"an unknown key that is nearly a known one", "clutser: demo", `1: unknown key "clutser": did you mean "cluster"?`},
		{"a key in another spelling", "accountId: 1", `1: unknown key "accountId": did you mean "account-id"?`},
		{"an unknown key like no other", "xyz: demo", `1: unknown key "xyz": the keys here are ` + names},
		{"a key of a container in a task", "tasks:\n  shop:\n    image: web",
			`3: unknown key "image": the keys here are family, revision, arn, cluster, service-name, launch-type, availability-zone, availability-zone-id, cpu, memory, task-role, execution-role, tags, containers, network-mode, associations, ephemeral-storage, ephemeral-storage-utilized, clock-error-bound, clock-synchronization-status, snapshotter`},
		{"a key twice", "cluster: one\nregion: us-east-1\ncluster: two", `3: "cluster" is there twice: it stands in line 1 already`},
		{"a task twice", "tasks:\n  shop: {}\n  shop: {}", `3: "shop" is there twice: it stands in line 2 already`},
		{"text for a number", "tasks:\n  shop:\n    memory: lots", `3: memory must be a whole number of MiB, not "lots"`},
		{"a number with a unit", "tasks: {shop: {memory: 512MiB}}", `1: memory must be a whole number of MiB, not "512MiB"`},
		{"a fraction of a MiB", "tasks: {shop: {memory: 0.5}}", `1: memory must be a whole number of MiB, not "0.5"`},
		{"no memory at all", "tasks: {shop: {memory: 0}}", `1: memory must be a whole number of MiB, not "0"`},
		{"more memory than there is", "tasks: {shop: {memory: 9223372036854775807}}", `1: memory must be a whole number of MiB, not "9223372036854775807"`},
		{"processors that are no number", "tasks: {shop: {cpu: .nan}}", `1: cpu must be a number of processors, such as 0.25, not ".nan"`},
		{"infinitely many processors", "tasks: {shop: {cpu: Inf}}", `1: cpu must be a number of processors, such as 0.25, not "Inf"`},
		{"a part of a CPU unit", "tasks: {shop: {containers: {web: {cpu: 0.25}}}}", `1: cpu must be a whole number of CPU units, 1024 to a processor, not "0.25"`},
		{"a list for a number", "tasks:\n  shop:\n    memory: [1]\n    cpu: [1]\n    containers: {web: {ipv4-address: [1]}}",
			`3: memory must be a whole number of MiB, not a list` + "\n" +
				`4: cpu must be a number of processors, such as 0.25, not a list` + "\n" +
				`5: ipv4-address must be an IPv4 address such as 172.18.0.3, not a list`},
		{"a problem that an alias repeats", "tasks:\n  shop: &shop {memory: lots}\n  mail: *shop", `2: memory must be a whole number of MiB, not "lots"`},
		{"a map for text", "cluster: {name: demo}", `1: cluster must be text, not a map`},
		{"a list for text", "cluster:\n  - demo", `2: cluster must be text, not a list`},
		{"nothing for text", "cluster:\nregion: us-east-1", `1: cluster has no value: it must be text; to say nothing, remove the key`},
		{"a list for a map", "tasks: [shop]", `1: tasks must be a map of keys and values, not a list`},
		{"a list at the top", "- cluster: demo", `1: the file must be a map of keys and values, not a list`},
		{"text at the top", "cluster", `1: the file must be a map of keys and values, not "cluster"`},
		{"a list as a key", "? [a]\n: b", `1: a key must be text, not a list`},
		{"nothing as a key", "? \n: b", `1: a key must be text, not empty`},
		{"an alias as a key", "region: &here us-east-1\n*here : b", `2: unknown key "us-east-1": the keys here are ` + names},
		{"a cluster that is a role's ARN", "cluster: arn:aws:iam::111122223333:role/web",
			`1: cluster must be a cluster's name or its ARN (arn:aws:ecs:us-east-1:111122223333:cluster/name), not "arn:aws:iam::111122223333:role/web"`},
		{"a bad region", "region: Frankfurt", `1: region must be a region such as us-east-1, not "Frankfurt"`},
		{"a short account", "account-id: 123", `1: account-id must be the 12 digits of an account, in quotes: "111122223333", not "123"`},
		{"a bad VPC", "vpc-id: mine", `1: vpc-id must be the id of a VPC such as vpc-05bcc4ceabe1df195, not "mine"`},
		{"a task's ARN without an account", "tasks: {shop: {arn: 'arn:aws:ecs:us-east-1::task/demo/1'}}",
			`1: arn must be the ARN of a task: arn:aws:ecs:us-east-1:111122223333:task/cluster/id, not "arn:aws:ecs:us-east-1::task/demo/1"`},
		{"a role's ARN without a role", "tasks: {shop: {task-role: 'arn:aws:iam::111122223333:user/me'}}",
			`1: task-role must be a role's name, path/name, or ARN (arn:aws:iam::111122223333:role/name), not "arn:aws:iam::111122223333:user/me"`},
		{"a role with a space", "tasks: {shop: {execution-role: my role}}",
			`1: execution-role must be a role's name, path/name, or ARN (arn:aws:iam::111122223333:role/name), not "my role"`},
		{"a bad launch type", "tasks: {shop: {launch-type: fargate}}", `1: launch-type must be EC2, FARGATE, EXTERNAL or MANAGED_INSTANCES, not "fargate"`},
		{"a bad network mode", "tasks: {shop: {network-mode: overlay}}", `1: network-mode must be awsvpc, bridge, host or none, not "overlay"`},
		{"a network mode that Fargate lacks", "tasks:\n  shop:\n    launch-type: FARGATE\n    network-mode: bridge",
			`4: network-mode cannot be bridge with launch-type FARGATE, which knows awsvpc only: remove one of the two`},
		{"an interface outside AWS", "tasks:\n  shop:\n    network-mode: awsvpc\n    launch-type: EXTERNAL",
			`3: network-mode cannot be awsvpc with launch-type EXTERNAL, which has no VPC: remove one of the two`},
		{"storage of Fargate on EC2", "tasks:\n  shop:\n    launch-type: EC2\n    ephemeral-storage: 21",
			`4: ephemeral-storage is shown with launch-type FARGATE only, not EC2: remove one of the two`},
		{"storage in MiB", "tasks: {shop: {ephemeral-storage: 20496}}", `1: ephemeral-storage must be 20 to 200 whole GiB, not "20496"`},
		{"storage with a unit", "tasks: {shop: {ephemeral-storage: 20GiB}}", `1: ephemeral-storage must be 20 to 200 whole GiB, not "20GiB"`},
		{"more used than there is", "tasks: {shop: {ephemeral-storage-utilized: 20481}}",
			`1: ephemeral-storage-utilized is 20481 MiB, more than the 20 GiB of ephemeral-storage`},
		{"a clock's status in other words", "tasks: {shop: {clock-synchronization-status: ok}}",
			`1: clock-synchronization-status must be SYNCHRONIZED or NOT_SYNCHRONIZED, not "ok"`},
		{"an unknown snapshotter", "tasks: {shop: {snapshotter: zfs}}", `1: snapshotter must be overlayfs or soci, not "zfs"`},
		{"one association", "tasks: {shop: {associations: {type: gpu}}}",
			`1: associations must be a list, such as [{type: gpu, name: GPU-1f0a2b3c}], not a map`},
		{"associations without type and name", "tasks:\n  shop:\n    associations:\n      - name: a\n      - type: gpu",
			`4: an association needs a type: add it` + "\n" + `5: an association needs a name: add it`},
		{"an association of another type", "tasks: {shop: {associations: [{type: fpga, name: a}]}}", `1: type must be gpu or elastic-inference, not "fpga"`},
		{"an association's name with a space", "tasks: {shop: {associations: [{type: gpu, name: a b}]}}",
			`1: name must be a name without spaces, such as GPU-1f0a2b3c, that does not begin with /, not "a b"`},
		{"an association with a bad container", "tasks: {shop: {associations: [{type: gpu, name: a, containers: [a b]}]}}",
			`1: an entry of containers must be the name of a container: letters, digits and _.-, not "a b"`},
		{"an association twice", "tasks:\n  shop:\n    associations:\n      - {type: gpu, name: a}\n      - {type: gpu, name: a}",
			`5: there is an association gpu a already (line 4): rename one`},
		{"an association with a container that is not there", "tasks:\n  shop:\n    containers: {web: }\n    associations: [{type: gpu, name: a, containers: [wep]}]",
			`3: the association gpu a names the container wep, which task shop does not have: its containers are web`},
		{"an association's content that is a map", "tasks: {shop: {associations: [{type: gpu, name: a, content: {a: b}}]}}",
			`1: content must be text ("" for an empty one), not a map`},
		{"a bad revision", "tasks: {shop: {revision: latest}}", `1: revision must be a whole number from 1, not "latest"`},
		{"a bad family", "tasks: {shop: {family: 'shop:7'}}", `1: family must be at most 255 letters, digits, - and _, not "shop:7"`},
		{"a bad zone", "tasks: {shop: {availability-zone: us-east-1}}", `1: availability-zone must be an availability zone such as us-east-1a, not "us-east-1"`},
		{"a bad zone id", "tasks: {shop: {availability-zone-id: us-east-1a}}", `1: availability-zone-id must be the id of an availability zone such as use1-az6, not "us-east-1a"`},
		{"a bad image id", "tasks: {shop: {containers: {web: {image-id: abc}}}}", `1: image-id must be sha256: and 64 hex digits, not "abc"`},
		{"a task's name with a slash", "tasks: {shop/web: {}}", `1: "shop/web" cannot be the name of a task: use letters, digits and _.-`},
		{"an empty container's name", "tasks: {shop: {containers: {'': {}}}}", `1: "" cannot be the name of a container: use letters, digits and _.-`},
		{"a tag with a list", "container-instance-tags:\n  Name: [a]", `2: Name must be text ("" for an empty one), not a list`},
		{"a tag with nothing", "container-instance-tags:\n  Name:", `2: Name has no value: it must be text ("" for an empty one); to say nothing, remove the key`},
		{"an address of version 6", "tasks: {shop: {containers: {web: {ipv4-address: '::1'}}}}", `1: ipv4-address must be an IPv4 address such as 172.18.0.3, not "::1"`},
		{"two containers with one address", "tasks:\n  shop:\n    containers:\n      web: {ipv4-address: 10.0.0.1}\n      db: {ipv4-address: 10.0.0.1}",
			`5: 10.0.0.1 belongs to container shop/web already (line 4): give each container an address of its own`},
		{"two containers with one Docker name", "tasks:\n  a: {containers: {b-c: {}}}\n  a-b: {containers: {c: {}}}",
			`3: container a-b/c would have the Docker name a-b-c-1, as container a/b-c (line 2) has: rename one`},
		{"one port", "tasks: {shop: {containers: {web: {ports: 80}}}}", `1: ports must be a list, such as ["8080:80"], not "80"`},
		{"ports that are none", "tasks: {shop: {containers: {web: {ports: [http, 0, 65536, '1.2.3.400:1:1', '0:80', '65536:80', {a: b}]}}}}",
			`1: a port must be written as "80", "8080:80", "127.0.0.1:8080:80" or "53:53/udp", not "http"` + "\n" +
				`1: a port must be written as "80", "8080:80", "127.0.0.1:8080:80" or "53:53/udp", not "0"` + "\n" +
				`1: a port must be written as "80", "8080:80", "127.0.0.1:8080:80" or "53:53/udp", not "65536"` + "\n" +
				`1: a port must be written as "80", "8080:80", "127.0.0.1:8080:80" or "53:53/udp", not "1.2.3.400:1:1"` + "\n" +
				`1: a port must be written as "80", "8080:80", "127.0.0.1:8080:80" or "53:53/udp", not "0:80"` + "\n" +
				`1: a port must be written as "80", "8080:80", "127.0.0.1:8080:80" or "53:53/udp", not "65536:80"` + "\n" +
				`1: a port must be written as "80", "8080:80", "127.0.0.1:8080:80" or "53:53/udp", not a map`},
		{"two documents", "cluster: demo\n---\nregion: us-east-1", `2: a second document starts here: keep everything in one, without ---`},
		{"a tag with a line break", "cluster: !a%0Ab demo", `1: the tag !a\nb means nothing here: remove it`},
		{"a tag of YAML", "cluster: !secret demo", `1: the tag !secret means nothing here: remove it`},
		{"tags in lists", "tasks:\n  shop:\n    containers: {web: {ports: [!a 80]}}\n    associations: [!b {}, {type: gpu, name: a, containers: [!c web]}]\n  mail:\n    <<: [!d {}]",
			"3: the tag !a means nothing here: remove it\n4: the tag !b means nothing here: remove it\n" +
				"4: the tag !c means nothing here: remove it\n6: the tag !d means nothing here: remove it"},
		{"a tab", "tasks:\n\tshop: {}", `2: not valid YAML: a tab in the indentation: YAML allows only spaces there`},
		{"a quote that does not end", "region: us-east-1\ncluster: \"demo\ntasks: {}\n", `2: not valid YAML: found unexpected end of stream`},
		{"a bracket that does not end", "region: us-east-1\ntasks: {shop: {}\n", `2: not valid YAML: did not find expected ',' or '}'`},
		{"a second value on a line", "region: us-east-1\ncluster: a: b", `2: not valid YAML: mapping values are not allowed in this context`},
		{"an indentation that fits nothing", "tasks:\n  shop:\n    family: shop\n   revision: 1\n", `4: not valid YAML: did not find expected key`},
		{"an alias of nothing", "region: us-east-1\ncluster: *name", `2: not valid YAML: unknown anchor 'name' referenced`},
		{"bytes that are no text", "region: us-east-1\ncluster: \"\x01\"", `2: not valid YAML: control characters are not allowed`},
		{"a map merged into itself", "tasks: &all\n  <<: *all", `2: << merges this map into itself`},
		{"a merge of a list with text", "tasks:\n  <<: [{}, shop]", `2: << takes maps, not "shop"`},
		{"a second document that is broken", "cluster: demo\n---\ncluster: a: b", `3: not valid YAML: mapping values are not allowed in this context`},
		{"a merge of text", "tasks:\n  <<: shop", `2: << takes a map, not "shop"`},
		{"all problems at once, by line", "clutser: demo\ntasks:\n  shop:\n    memory: lots\n    revison: 1\nregion: here\ncluster: a b\n",
			`1: unknown key "clutser": did you mean "cluster"?` + "\n" +
				`4: memory must be a whole number of MiB, not "lots"` + "\n" +
				`5: unknown key "revison": did you mean "revision"?` + "\n" +
				`6: region must be a region such as us-east-1, not "here"` + "\n" +
				`7: cluster must be a cluster's name or its ARN (arn:aws:ecs:us-east-1:111122223333:cluster/name), not "a b"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f, err := config.Parse("x.yaml", []byte(test.text))
			if err == nil {
				t.Fatalf("got no error, and the file %+v", f)
			}
			want := "x.yaml:" + strings.ReplaceAll(test.want, "\n", "\nx.yaml:")
			if diff := cmp.Diff(want, local.MessageOf(err)); diff != "" {
				t.Errorf("got the wrong message (-want +got):\n%s", diff)
			}
			if got := local.CodeOf(err); got != local.Invalid {
				t.Errorf("got code %s, want %s", got, local.Invalid)
			}
		})
	}
}

// Nine lines whose aliases make a thousand million values must neither be read
// to their end nor be believed.
func TestAliasesThatMultiply(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	text.WriteString("tasks:\n  t0: &t0 { tags: { a: b } }\n")
	for _, level := range []string{"1", "2", "3", "4", "5", "6", "7", "8", "9"} {
		before := "*t" + string(level[0]-1)
		text.WriteString("  t" + level + ": &t" + level + "\n    <<: [" + strings.Repeat(before+", ", 10) + "]\n")
	}
	_, err := config.Parse("x.yaml", []byte(text.String()))
	if err == nil || strings.Count(err.Error(), "its aliases multiply") != 1 {
		t.Errorf("got %v, want one error about aliases", err)
	}
}

// What is wrong with a task that ends beyond the most values has a line, too.
func TestAliasesThatMultiplyWithinATask(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	text.WriteString("container-instance-tags: &t\n")
	for i := range 100 {
		text.WriteString("  " + strings.Repeat("k", i+1) + ": v\n")
	}
	text.WriteString("tasks:\n  shop:\n    launch-type: EXTERNAL\n    network-mode: awsvpc\n    tags:\n      <<: [" + strings.Repeat("*t, ", 1000) + "]\n")
	_, err := config.Parse("x.yaml", []byte(text.String()))
	message := local.MessageOf(err)
	if err == nil || strings.Contains(message, "x.yaml:0:") || !strings.Contains(message, ": network-mode cannot be awsvpc") || !strings.Contains(message, "its aliases multiply") {
		t.Errorf("got %v, want an error about the network mode and one about aliases, both with their lines", err)
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	t.Run("a file", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "ecs-local.yaml")
		if err := os.WriteFile(path, []byte(example), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := config.Load(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(parse(t, example), f, addresses); diff != "" {
			t.Errorf("got another file than Parse (-parse +load):\n%s", diff)
		}
	})
	for _, test := range []struct {
		name string
		path func(folder string) string
		want string
	}{
		{"no file", func(folder string) string { return filepath.Join(folder, "none.yaml") }, "there is no such file: check the path"},
		{"a folder, as Docker makes it for a missing file", func(folder string) string { return folder }, "this is a directory, not a file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			path := test.path(t.TempDir())
			_, err := config.Load(path)
			if err == nil || !strings.HasPrefix(local.MessageOf(err), path+": "+test.want) {
				t.Errorf("got %v, want %q", err, path+": "+test.want)
			}
		})
	}
}

func TestFacts(t *testing.T) {
	t.Parallel()
	f := parse(t, `
cluster: file
region: eu-central-1
account-id: "111122223333"
vpc-id: vpc-05bcc4ceabe1df195
container-instance-tags: { a: file, b: file }
tasks:
  shop: { family: file }
  mail: { family: file }
`)
	t.Run("what the file says", func(t *testing.T) {
		t.Parallel()
		want := local.Facts{
			Cluster:      "file",
			Region:       "eu-central-1",
			Account:      "111122223333",
			VPCID:        "vpc-05bcc4ceabe1df195",
			InstanceTags: map[string]string{"a": "file", "b": "file"},
			Tasks:        map[string]local.TaskFacts{"shop": {Family: "file"}, "mail": {Family: "file"}},
		}
		if diff := cmp.Diff(want, f.Facts(local.Facts{})); diff != "" {
			t.Errorf("got the wrong facts (-want +got):\n%s", diff)
		}
	})
	t.Run("flags and environment win over the file", func(t *testing.T) {
		t.Parallel()
		base := local.Facts{
			Cluster:      "env",
			Region:       "us-west-2",
			Account:      "444455556666",
			TaskARN:      "arn:aws:ecs:us-west-2:444455556666:task/env/1",
			Family:       "env",
			Revision:     "9",
			VPCID:        "vpc-00000000",
			InstanceTags: map[string]string{"a": "env"},
			Tasks:        map[string]local.TaskFacts{"shop": {Family: "env"}},
		}
		want := base
		want.InstanceTags = map[string]string{"a": "env", "b": "file"}
		want.Tasks = map[string]local.TaskFacts{"shop": {Family: "env"}, "mail": {Family: "file"}}
		if diff := cmp.Diff(want, f.Facts(base)); diff != "" {
			t.Errorf("got the wrong facts (-want +got):\n%s", diff)
		}
		if len(base.InstanceTags) != 1 || len(base.Tasks) != 1 {
			t.Error("Facts changed the maps that it was given")
		}
	})
}

func TestContainers(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 9, 26, 11, 3, 58, 0, time.UTC)

	t.Run("what a container says", func(t *testing.T) {
		t.Parallel()
		got := parse(t, `
tasks:
  shop:
    containers:
      web:
        image: shop/web:1.4.2
        image-id: sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
        cpu: 256
        memory: 512
        labels: { tier: front }
        ports: ["8080:80"]
        ipv4-address: 172.18.0.3
`).Containers(now)
		const id = "97375646b1deb3d2d5c406cd15750035f52a38beb24211ed2dd66e8824bf15f9"
		want := []*local.Container{{
			ID:          got[0].ID,
			EndpointID:  local.EndpointID(got[0].ID),
			Name:        "web",
			DockerName:  "shop-web-1",
			Project:     "shop",
			Service:     "web",
			Image:       "shop/web:1.4.2",
			ImageID:     "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
			Labels:      map[string]string{"tier": "front"},
			Type:        "NORMAL",
			State:       local.Running,
			CreatedAt:   now,
			StartedAt:   now,
			CPU:         256,
			Memory:      512,
			NetworkMode: "bridge",
			Networks:    []local.Network{{Name: "bridge", IPv4: netip.MustParseAddr("172.18.0.3")}},
			Ports:       []local.Port{{Container: 80, Host: 8080, Protocol: "tcp"}},
		}}
		if diff := cmp.Diff(want, got, addresses, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
			t.Errorf("got the wrong containers (-want +got):\n%s", diff)
		}
		if got[0].ID != id {
			t.Errorf("got id %s, want %s: ids must stay what they are", got[0].ID, id)
		}
	})

	for _, test := range []struct {
		name string
		text string
		want []string
	}{
		{"no task: the built-in one", "cluster: demo", []string{"local-app-1"}},
		{"a task without containers", "tasks: {shop: {family: shop}}", []string{"shop-app-1"}},
		{"several", "tasks: {shop: {containers: {web: , db: }}, mail: {containers: {smtp: }}}", []string{"shop-web-1", "shop-db-1", "mail-smtp-1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, c := range parse(t, test.text).Containers(now) {
				got = append(got, c.DockerName)
				if len(c.ID) != 64 || !strings.HasPrefix(c.ImageID, "sha256:") || c.Image == "" {
					t.Errorf("container %s lacks an id or an image: %+v", c.DockerName, c)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("got the wrong containers (-want +got):\n%s", diff)
			}
		})
	}

	t.Run("form tasks, and are found by their addresses", func(t *testing.T) {
		t.Parallel()
		f := parse(t, `
cluster: demo
tasks:
  shop:
    family: front
    containers: { web: { ipv4-address: 10.0.0.1 }, db: { ipv4-address: 10.0.0.2 } }
  mail:
    containers: { smtp: { ipv4-address: 10.0.0.3 } }
`)
		directory := local.NewDirectory(f.Containers(now), "", f.Facts(local.Facts{})).Static()
		caller, err := directory.WhoIs(netip.MustParseAddr("10.0.0.2"))
		if err != nil {
			t.Fatal(err)
		}
		if caller.Container.Name != "db" || caller.Task.Name != "shop" || caller.Task.Family != "front" || len(caller.Task.Containers) != 2 {
			t.Errorf("got container %s of task %+v", caller.Container.Name, caller.Task)
		}
		if n := len(directory.Tasks()); n != 2 {
			t.Errorf("got %d tasks, want 2", n)
		}
	})
}

// FuzzParse: whatever the bytes, there is a file or an error whose every line
// names a line of the file.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{example, everything, "", "a: &a [*a]", "tasks: &t {<<: *t}", "---\n---\n", "\tx", "cluster: !!binary x", "%YAML 1.1\n---\n", "? ? ?", "\xff\xfe", "!%0A"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := config.Parse("f", data)
		if err == nil {
			file.Facts(local.Facts{})
			if len(file.Containers(time.Now())) == 0 {
				t.Error("got a file without containers")
			}
			return
		}
		if file != nil {
			t.Error("got a file and an error")
		}
		for line := range strings.SplitSeq(local.MessageOf(err), "\n") {
			rest, ok := strings.CutPrefix(line, "f:")
			number, _, colon := strings.Cut(rest, ": ")
			if !ok || !colon || number == "" || strings.Trim(number, "0123456789") != "" || number == "0" {
				t.Errorf("got a message without a line: %q", line)
			}
		}
	})
}
