package metadata

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ecs-local/ecs-local/local"
)

// Stats are the engine's own, read into the agent's types and written again,
// so that every engine's output takes the agent's shape and order.
// https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerStats

// statsV3 is what versions 2 and 3 show.
type statsV3 struct {
	Read     time.Time    `json:"read"`
	PreRead  time.Time    `json:"preread"`
	Pids     pidsStats    `json:"pids_stats"`
	BlockIO  blockIOStats `json:"blkio_stats"`
	NumProcs uint32       `json:"num_procs"`
	Storage  storageStats `json:"storage_stats"`
	CPU      cpuStats     `json:"cpu_stats"`
	PreCPU   cpuStats     `json:"precpu_stats"`
	Memory   memoryStats  `json:"memory_stats"`

	Name     string                  `json:"name,omitempty"`
	ID       string                  `json:"id,omitempty"`
	Networks map[string]networkStats `json:"networks,omitempty"`
}

// statsV4 adds the rates.
type statsV4 struct {
	statsV3

	Rates *networkRates `json:"network_rate_stats,omitempty"`
}

type networkRates struct {
	RxBytesPerSec float64 `json:"rx_bytes_per_sec"`
	TxBytesPerSec float64 `json:"tx_bytes_per_sec"`
}

type pidsStats struct {
	Current uint64 `json:"current,omitempty"`
	Limit   uint64 `json:"limit,omitempty"`
}

// blockIOStats prints null for a list that the engine does not have.
type blockIOStats struct {
	ServiceBytes []blockIOEntry `json:"io_service_bytes_recursive"`
	Serviced     []blockIOEntry `json:"io_serviced_recursive"`
	Queue        []blockIOEntry `json:"io_queue_recursive"`
	ServiceTime  []blockIOEntry `json:"io_service_time_recursive"`
	WaitTime     []blockIOEntry `json:"io_wait_time_recursive"`
	Merged       []blockIOEntry `json:"io_merged_recursive"`
	Time         []blockIOEntry `json:"io_time_recursive"`
	Sectors      []blockIOEntry `json:"sectors_recursive"`
}

type blockIOEntry struct {
	Major uint64 `json:"major"`
	Minor uint64 `json:"minor"`
	Op    string `json:"op"`
	Value uint64 `json:"value"`
}

// storageStats is Windows only.
type storageStats struct {
	ReadCountNormalized  uint64 `json:"read_count_normalized,omitempty"`
	ReadSizeBytes        uint64 `json:"read_size_bytes,omitempty"`
	WriteCountNormalized uint64 `json:"write_count_normalized,omitempty"`
	WriteSizeBytes       uint64 `json:"write_size_bytes,omitempty"`
}

type cpuStats struct {
	Usage      cpuUsage       `json:"cpu_usage"`
	System     uint64         `json:"system_cpu_usage,omitempty"`
	OnlineCPUs uint32         `json:"online_cpus,omitempty"`
	Throttling throttlingData `json:"throttling_data"`
}

// cpuUsage is in nanoseconds. Per processor there are numbers with cgroups v1 only.
type cpuUsage struct {
	Total  uint64   `json:"total_usage"`
	PerCPU []uint64 `json:"percpu_usage,omitempty"`
	Kernel uint64   `json:"usage_in_kernelmode"`
	User   uint64   `json:"usage_in_usermode"`
}

type throttlingData struct {
	Periods          uint64 `json:"periods"`
	ThrottledPeriods uint64 `json:"throttled_periods"`
	ThrottledTime    uint64 `json:"throttled_time"`
}

// memoryStats is in bytes. With cgroups v2 there is no MaxUsage and no
// FailCount; what follows the limit is Windows only.
type memoryStats struct {
	Usage             uint64            `json:"usage,omitempty"`
	MaxUsage          uint64            `json:"max_usage,omitempty"`
	Stats             map[string]uint64 `json:"stats,omitempty"`
	FailCount         uint64            `json:"failcnt,omitempty"`
	Limit             uint64            `json:"limit,omitempty"`
	Commit            uint64            `json:"commitbytes,omitempty"`
	CommitPeak        uint64            `json:"commitpeakbytes,omitempty"`
	PrivateWorkingSet uint64            `json:"privateworkingset,omitempty"`
}

type networkStats struct {
	RxBytes    uint64 `json:"rx_bytes"`
	RxPackets  uint64 `json:"rx_packets"`
	RxErrors   uint64 `json:"rx_errors"`
	RxDropped  uint64 `json:"rx_dropped"`
	TxBytes    uint64 `json:"tx_bytes"`
	TxPackets  uint64 `json:"tx_packets"`
	TxErrors   uint64 `json:"tx_errors"`
	TxDropped  uint64 `json:"tx_dropped"`
	EndpointID string `json:"endpoint_id,omitempty"`
	InstanceID string `json:"instance_id,omitempty"`
}

// moment returns a time as it is, or the zero time when no document can hold
// it: what can be read may be a day away from UTC, or not be of four digits.
func moment(t time.Time) time.Time {
	if _, err := t.MarshalText(); err != nil {
		return time.Time{}
	}
	return t
}

// Stats returns the stats document of a container of a task. Without a sample
// it is null in versions 2 and 3, and an empty object in version 4. A sample
// that is not the engine's JSON is an error.
func Stats(v Version, t *local.Task, c *local.Container, s *local.Stats) ([]byte, error) {
	if s == nil {
		if v == V4 {
			return []byte("{}"), nil
		}
		return []byte("null"), nil
	}
	var doc statsV4
	if err := json.Unmarshal(s.JSON, &doc.statsV3); err != nil {
		return nil, fmt.Errorf("decode stats: %w", err)
	}
	doc.Read, doc.PreRead = moment(doc.Read), moment(doc.PreRead)
	if id := t.ContainerID(c); id != c.ID {
		doc.ID = id
	}
	if onFargate(t) {
		doc.Name = c.Name
	}
	if v == V4 && s.Rates != nil {
		doc.Rates = &networkRates{RxBytesPerSec: s.Rates.RxBytesPerSec, TxBytesPerSec: s.Rates.TxBytesPerSec}
	}
	body, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("encode stats: %w", err)
	}
	return body, nil
}

// Sample is a container's stats document, as Stats returns it.
type Sample struct {
	ContainerID string // as in the documents
	JSON        []byte
}

// TaskStats joins the stats of a task's containers into one object, by
// container id. No sample at all gives an empty object.
func TaskStats(samples []Sample) []byte {
	sorted := slices.SortedFunc(slices.Values(samples), func(a, b Sample) int {
		return strings.Compare(a.ContainerID, b.ContainerID)
	})
	var b bytes.Buffer
	b.WriteByte('{')
	for i, s := range sorted {
		if i > 0 {
			b.WriteByte(',')
		}
		id, _ := json.Marshal(s.ContainerID) // a string: it cannot fail
		b.Write(id)
		b.WriteByte(':')
		b.Write(s.JSON)
	}
	b.WriteByte('}')
	return b.Bytes()
}
