package handlers

import (
	"net/http"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/metadata"
)

// containerStats serves the stats of one container:
// GET /v2/stats/<id>, /v3/stats, /v4/stats and the forms with an id.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4-response.html
func (s *server) containerStats(r *http.Request, v metadata.Version, c *local.Container) (document, error) {
	if !c.State.Alive() {
		return nil, &agentError{versions[v].noStats, "Unable to get container stats for: " + c.ID}
	}
	samples := s.runtime.Stats(r.Context(), []*local.Container{c})
	dir, _ := s.runtime.Current()
	return s.documents.of(dir).sample(v, c.ID, samples[c.ID])
}

// taskStats serves the stats of all containers of a task, by container id:
// GET /v2/stats, /v3/task/stats, /v4/task/stats and the forms with an id.
func (s *server) taskStats(r *http.Request, v metadata.Version, t *local.Task) (document, error) {
	samples := s.runtime.Stats(r.Context(), t.Containers)
	dir, _ := s.runtime.Current()
	kept := s.documents.of(dir)
	parts := make([]metadata.Sample, len(t.Containers))
	for i, c := range t.Containers {
		body, err := kept.sample(v, c.ID, samples[c.ID])
		if err != nil {
			return nil, err
		}
		parts[i] = metadata.Sample{ContainerID: c.ID, JSON: body}
	}
	return metadata.TaskStats(parts), nil
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
func (r *rendered) sample(v metadata.Version, id string, sample *local.Stats) (document, error) {
	if sample == nil {
		return metadata.Stats(v, nil)
	}
	key := sampleKey{id, v}
	if kept, ok := r.samples.Load(key); ok && kept.(renderedSample).sample == sample {
		return kept.(renderedSample).body, nil
	}
	body, err := metadata.Stats(v, sample)
	if err != nil {
		return nil, err
	}
	r.samples.Store(key, renderedSample{sample, body})
	return body, nil
}
