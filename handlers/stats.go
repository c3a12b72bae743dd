package handlers

import (
	"net/http"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/metadata"
)

// containerStats serves the stats of one container:
// GET /v2/stats/<id>, /v3/stats, /v4/stats and the forms with an id.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4-response.html
func (s *server) containerStats(r *http.Request, v metadata.Version, who local.Caller) (document, error) {
	c := who.Container
	if !c.State.Alive() {
		return nil, &agentError{versions[v].noStats, "Unable to get container stats for: " + who.Task.ContainerID(c)}
	}
	samples := s.runtime.Stats(r.Context(), []*local.Container{c})
	dir, _ := s.runtime.Current()
	return s.documents.of(dir).sample(v, who.Task, c, samples[c.ID])
}

// taskStats serves the stats of all containers of a task, by container id:
// GET /v2/stats, /v3/task/stats, /v4/task/stats and the forms with an id.
func (s *server) taskStats(r *http.Request, v metadata.Version, t *local.Task) (document, error) {
	samples := s.runtime.Stats(r.Context(), t.Containers)
	dir, _ := s.runtime.Current()
	return s.documents.of(dir).taskStats(v, t, samples)
}

// joinedKey says which stats of a task are meant.
type joinedKey struct {
	task    *local.Task
	version metadata.Version
}

// joinedSamples is the stats document of a task and what it was made of, in
// the order of the task's containers.
type joinedSamples struct {
	samples []*local.Stats
	body    document
}

// taskStats joins the samples of a task, once for each set of them. The engine
// has a new sample every second.
func (r *rendered) taskStats(v metadata.Version, t *local.Task, samples map[string]*local.Stats) (document, error) {
	key := joinedKey{t, v}
	if kept, ok := r.joined.Load(key); ok && kept.(*joinedSamples).of(t, samples) {
		return kept.(*joinedSamples).body, nil
	}
	next := &joinedSamples{samples: make([]*local.Stats, len(t.Containers))}
	parts := make([]metadata.Sample, len(t.Containers))
	for i, c := range t.Containers {
		next.samples[i] = samples[c.ID]
		body, err := r.sample(v, t, c, samples[c.ID])
		if err != nil {
			return nil, err
		}
		parts[i] = metadata.Sample{ContainerID: t.ContainerID(c), JSON: body}
	}
	next.body = metadata.TaskStats(parts)
	r.joined.Store(key, next)
	return next.body, nil
}

// of reports whether the document was made of exactly these samples.
func (j *joinedSamples) of(t *local.Task, samples map[string]*local.Stats) bool {
	for i, c := range t.Containers {
		if j.samples[i] != samples[c.ID] {
			return false
		}
	}
	return true
}

// sampleKey says which rendered sample is meant.
type sampleKey struct {
	container string
	version   metadata.Version
}

// renderedSample is a sample and what it was rendered to.
type renderedSample struct {
	sample *local.Stats
	body   document
}

// sample renders a sample, once.
func (r *rendered) sample(v metadata.Version, t *local.Task, c *local.Container, sample *local.Stats) (document, error) {
	if sample == nil {
		return metadata.Stats(v, t, c, nil)
	}
	key := sampleKey{c.ID, v}
	if kept, ok := r.samples.Load(key); ok && kept.(renderedSample).sample == sample {
		return kept.(renderedSample).body, nil
	}
	body, err := metadata.Stats(v, t, c, sample)
	if err != nil {
		return nil, err
	}
	r.samples.Store(key, renderedSample{sample, body})
	return body, nil
}
