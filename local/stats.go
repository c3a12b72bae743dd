package local

// Stats is the latest sample of a container's resource use. Values are never
// changed; a new sample is a new value.
type Stats struct {
	// JSON is the engine's own stats object, as it came.
	// https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerStats
	JSON []byte
	// Rates is nil until there are two samples with network data.
	Rates *NetworkRates
}

// NetworkRates is what a container received and sent between its last two
// samples, over all its interfaces, in bytes a second. Never NaN.
type NetworkRates struct {
	RxBytesPerSec float64
	TxBytesPerSec float64
}
