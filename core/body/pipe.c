/* pipe.c - the queue between a producer and a reader, and who is told when. */
#include "body/pipe.h"

/* --- Telling ---------------------------------------------------------------------------------- */

static bool is_drained(const struct tg_pipe *pipe)
{
    return pipe->drain_fn && pipe->chunks.len <= pipe->low_water;
}

static bool has_news(const struct tg_pipe *pipe)
{
    return pipe->read_fn && (pipe->chunks.len || pipe->ended || pipe->failed);
}

static void tell_soon(struct tg_pipe *pipe)
{
    if (is_drained(pipe) || has_news(pipe))
        tg_soon_call(&pipe->soon);
}

/* Either may end the pipe, so only one is told in a turn. */
static void tell(void *arg)
{
    struct tg_pipe *pipe = arg;
    bool drained = is_drained(pipe);
    void (*fn)(void *) = drained ? pipe->drain_fn : pipe->read_fn;
    void *fn_arg = drained ? pipe->drain_arg : pipe->read_arg;
    if (!drained && !has_news(pipe))
        return;
    if (drained)
        pipe->drain_fn = NULL;
    else
        pipe->read_fn = NULL;
    tell_soon(pipe);
    fn(fn_arg);
}

/* --- The producer's end ----------------------------------------------------------------------- */

static enum tg_status commit(void *sink, const struct tg_response_head *head)
{
    struct tg_pipe *pipe = sink;
    pipe->length = head->length;
    return pipe->closed ? TG_ECLOSED : TG_OK;
}

static enum tg_status added(struct tg_pipe *pipe, enum tg_status status, unsigned flags)
{
    if (status == TG_OK && flags & TG_SEND_LAST)
        pipe->ended = true;
    tell_soon(pipe);
    return status;
}

static enum tg_status send_runs(void *sink, const struct iovec *runs, int n, unsigned flags)
{
    struct tg_pipe *pipe = sink;
    if (pipe->closed)
        return TG_ECLOSED;
    return added(pipe, tg_chunks_add(&pipe->chunks, runs, n), flags);
}

static enum tg_status send_lent(void *sink, const void *data, size_t len, unsigned flags,
                                tg_release_fn release, void *arg)
{
    struct tg_pipe *pipe = sink;
    if (pipe->closed) {
        release(data, len, arg);
        return TG_ECLOSED;
    }
    return added(pipe, tg_chunks_lend(&pipe->chunks, data, len, release, arg), flags);
}

static size_t pending(void *sink)
{
    const struct tg_pipe *pipe = sink;
    return pipe->chunks.len;
}

static void on_drain(void *sink, size_t low_water, void (*fn)(void *arg), void *arg)
{
    struct tg_pipe *pipe = sink;
    pipe->low_water = low_water;
    pipe->drain_fn = fn;
    pipe->drain_arg = arg;
    tell_soon(pipe);
}

const struct tg_sink_ops tg_pipe_sink = {
    .commit = commit,
    .send = send_runs,
    .send_lent = send_lent,
    .pending = pending,
    .on_drain = on_drain,
};

void tg_pipe_fail(struct tg_pipe *pipe, enum tg_status status)
{
    if (pipe->ended || pipe->failed)
        return;
    pipe->failed = status;
    tell_soon(pipe);
}

/* --- The reader's end ------------------------------------------------------------------------- */

enum tg_pipe_state tg_pipe_peek(const struct tg_pipe *pipe, struct tg_slice *data)
{
    *data = tg_chunks_front(&pipe->chunks);
    if (data->len)
        return TG_PIPE_DATA;
    if (pipe->failed)
        return TG_PIPE_FAILED;
    return pipe->ended ? TG_PIPE_END : TG_PIPE_WAIT;
}

void tg_pipe_consume(struct tg_pipe *pipe, size_t n)
{
    tg_chunks_drop(&pipe->chunks, n);
    if (is_drained(pipe))
        tg_soon_call(&pipe->soon);
}

void tg_pipe_wait(struct tg_pipe *pipe, void (*fn)(void *arg), void *arg)
{
    pipe->read_fn = fn;
    pipe->read_arg = arg;
    tell_soon(pipe);
}

void tg_pipe_close(struct tg_pipe *pipe)
{
    pipe->closed = true;
    if (!pipe->ended && !pipe->failed)
        pipe->failed = TG_ECLOSED;
    tg_chunks_clear(&pipe->chunks);
    tell_soon(pipe);
}

/* --- Its life --------------------------------------------------------------------------------- */

void tg_pipe_init(struct tg_pipe *pipe, struct event_base *base)
{
    *pipe = (struct tg_pipe){.length = TG_LENGTH_UNKNOWN};
    tg_soon_init(&pipe->soon, base, tell, pipe);
}

void tg_pipe_fini(struct tg_pipe *pipe)
{
    tg_soon_fini(&pipe->soon);
    tg_chunks_clear(&pipe->chunks);
}
