package publisher

import "context"

// SendOnly makes a publisher send, and not look at the streams.
func (p *Publisher) SendOnly(ctx context.Context) {
	ctx, p.stop = context.WithCancel(ctx)
	p.done.Go(func() { p.commits.Run(ctx) })
}
