package creds

import (
	"context"
	"errors"
	"io"

	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// mostAnswer is more than any answer has that holds credentials. The SDK would
// keep as much as the other side sends.
const mostAnswer = 1 << 20

var errAnswerTooLong = errors.New("the answer is too long")

// limitAnswers makes an answer without an end an error.
func limitAnswers(stack *middleware.Stack) error {
	return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("LimitAnswers", func(
		ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler,
	) (middleware.DeserializeOutput, middleware.Metadata, error) {
		out, metadata, err := next.HandleDeserialize(ctx, in)
		if response, ok := out.RawResponse.(*smithyhttp.Response); ok && response.Response != nil && response.Body != nil {
			response.Body = &limitedAnswer{response.Body, mostAnswer}
		}
		return out, metadata, err
	}), middleware.After)
}

// limitedAnswer is a body that may have so many bytes.
type limitedAnswer struct {
	io.ReadCloser
	left int
}

func (l *limitedAnswer) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errAnswerTooLong
	}
	n, err := l.ReadCloser.Read(p[:min(len(p), l.left)])
	l.left -= n
	return n, err
}
