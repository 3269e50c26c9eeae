---@meta tidegate
-- meta.lua - what C provides, for editors and for the manual. Nothing in it is called.

---@class tidegate
local tg = {}

--- Raised by every write once the client has gone. It compares equal to itself only, is not logged
--- as an error, and should be let through: `<close>` variables run on the way.
tg.closed = {}

--- Suspends the caller for so many seconds. It blocks nobody else; what was written goes out
--- before.
---@async
---@param seconds number zero or more
function tg.sleep(seconds) end

--- The bridge for callbacks: calls `arm` with a function and suspends the caller until that
--- function is called. It works once and returns true; after that, and when the wait has ended
--- some other way, it returns false and does nothing. What it was given is what `wait` returns.
---@async
---@param arm fun(resume: fun(...): boolean)
---@param timeout? number seconds; `wait` then returns nil, "timeout"
---@return any ...
function tg.wait(arm, timeout) end

--- Something that runs at the same time as what has spawned it, on a coroutine of its own. It
--- belongs to the exchange that it was spawned in, and is cancelled when that ends, or when the
--- task is that has spawned it; one that was spawned in none belongs to the script that is loaded.
--- As a `<close>` variable it is cancelled with its scope.
---@class tidegate.Task
local Task = {}
--- Waits until it has ended. Returns what its function has returned, or raises what that has
--- raised, as often as it is asked; for one that was cancelled { cancelled = true, message }.
---@async
---@return any ...
function Task:join() end
--- Ends it where it waits: its `<close>` variables run, what it has spawned is cancelled before.
--- One that is over is left alone. A task may cancel itself.
function Task:cancel() end
---@return "waiting"|"running"|"done"|"failed"|"cancelled"
function Task:status() end

--- A task that calls fn(...), soon: not before the caller waits. An error that nobody joins is
--- logged when the exchange ends.
---@param fn async fun(...): ...
---@param ... any
---@return tidegate.Task
function tg.spawn(fn, ...) end

--- Makes a task outlive its exchange; what it spawns belongs to it, and ends with it. When the
--- gateway stops, or a newer script has taken over, it has limits.drain to end. That is for a task
--- that has not begun yet: `tg.detach(tg.spawn(fn))`, or `tg.detach(fn)`.
---@param task tidegate.Task|fun(...): ...
---@param ... any arguments of the function
---@return tidegate.Task
function tg.detach(task, ...) end

--- A task of the script that is loaded, wherever it is spawned: as if while it was loaded. Nothing
--- waits for it: it is cancelled when the gateway stops, or when a newer script has taken over and
--- the last exchange of this one has ended.
---@param fn async fun(...): ...
---@param ... any
---@return tidegate.Task
function tg.background(fn, ...) end

--- Tasks whose ends one task waits for. It is for `<close>` variables: those that run then are
--- cancelled.
---@class tidegate.Group
local Group = {}
--- As tg.spawn.
---@param fn async fun(...): ...
---@param ... any
---@return tidegate.Task
function Group:spawn(fn, ...) end
--- Waits for the next one that ends, and returns it: its `join` has the results. nil when there is
--- none left; false when none has ended in time.
---@async
---@param seconds? number
---@return tidegate.Task|false|nil
function Group:next(seconds) end
--- A new group, with no tasks in it.
---@return tidegate.Group
function tg.group() end

--- Values from hand to hand, first in first out, between the tasks of one exchange or of several.
--- As a body: each item is written as it comes, until the channel is closed.
---@class tidegate.Channel
---@operator call: any
---@operator len: integer how many values are in it
local Channel = {}
--- Waits while it is full. Raises when it is closed, or once nobody is left who could get.
---@async
---@param value any but nil
function Channel:put(value) end
--- Never waits.
---@param value any but nil
---@return boolean done
---@return "full"? why not
function Channel:try_put(value) end
--- Waits while it is empty; `ch()` does the same. nil when it is closed and empty. Raises
--- { orphaned = true, message } once nobody is left who could put.
---@async
---@return any value
function Channel:get() end
--- Never waits.
---@return any value
---@return "empty"|"closed"? why there is none
function Channel:try_get() end
--- for value in ch:items() do, until it is closed and empty.
---@return async fun(): any
---@return tidegate.Channel
function Channel:items() end
--- Nothing more is put; what is in it can still be got. A second close does nothing.
function Channel:close() end
--- Names a task that will put: when all that were named have ended, `get` raises where it would
--- wait.
---@param task tidegate.Task
---@return tidegate.Task task
function Channel:producer(task) end

--- A channel with room for so many values; none (the default): put waits for get. One that an
--- exchange has made for its own tasks ends their waits with an error when nobody is left to do the
--- other half; `shared` says that others will use it.
---@param capacity? integer
---@param options? { shared?: boolean }
---@return tidegate.Channel
function tg.channel(capacity, options) end

--- Waits for the first that can be done of several: to get from a channel, or to put to one with
--- { channel, value }.
---@async
---@param list { [integer]: tidegate.Channel|{ [1]: tidegate.Channel, [2]: any }, timeout?: number }
---@return integer? which nil when it was none in time
---@return any value true for a put; nil for a channel that is closed and empty
function tg.select(list) end

--- The time of day: seconds since 1970, with a fraction.
---@return number
function tg.now() end

--- Seconds on a clock that only goes forward: for differences.
---@return number
function tg.monotonic() end

--- A line in the log. The arguments are joined by a space, each through `tostring`.
tg.log = {}
---@param ... any
function tg.log.debug(...) end
---@param ... any
function tg.log.info(...) end
---@param ... any
function tg.log.warn(...) end
---@param ... any
function tg.log.error(...) end

---@class tidegate.Sequence
---@class tidegate.Generator
---@class tidegate.File

---@class tidegate.Filter

--- A body whose bytes pass through `map`, chunk by chunk as they come: what it returns is sent in
--- the place of the chunk, nothing for nil. `finish` is called at the end of the whole body, and
--- may return the last bytes. Either may wait. A chunk has up to 64 KiB, and ends anywhere.
---@param body any of any type; the response has its Content-Type, and no length
---@param map async fun(chunk: string): string|nil
---@param finish? async fun(): string|nil
---@return tidegate.Filter
function tg.map_body(body, map, finish) end

--- A body of any type, produced to be read here: by a task of its own, which is held back while
--- nobody reads. For use while the exchange is running.
---@param body any
---@param content_type? string what a table or sequence is printed as; JSON
---@return tidegate.BodyReader
function tg.read_body(body, content_type) end

---@class tidegate.BodyReader
local BodyReader = {}
--- The next chunk, of at most 64 KiB, or nil at the end. Raises what the body raises.
---@async
---@return string?
function BodyReader:read() end
--- for chunk in reader:chunks() do
---@return async fun(): string?
function BodyReader:chunks() end
--- The rest of it. Past `most` bytes, limits.body_buffer, it raises with status 413.
---@async
---@param most? integer
---@return string
function BodyReader:all(most) end
--- Ends the body where it is: its `<close>` variables run. A reader in a `<close>` variable does
--- so, too.
function BodyReader:close() end

---@class tidegate.CompressOptions
---@field codings? ("zstd"|"br"|"gzip")[] the best first: it wins where the client likes several
---@field levels? table<string, integer> by coding: zstd 1 to 19 (2), br 0 to 9 (3), gzip 1 to 9 (4)
---@field types? string[] "text/html", all of a kind "text/*", all with a suffix "*+json"
---@field min_length? integer bytes; a body that is known to be shorter is left as it is (1024)

--- An interceptor that codes the responses of what is inside it, where their clients accept that:
--- as they are streamed, and flushed when they are flushed. Ranges, bodies that have a
--- Content-Encoding or a digest, no-transform, and types that are not listed are left alone.
---@param options? tidegate.CompressOptions
---@return tidegate.Interceptor
function tg.compress(options) end

--- A lazy sequence over any iterator, as a generic `for` would run over it: the first value of
--- each step is an element, nil ends it. It may wait.
---@param iterator fun(state: any, control: any): any
---@param state? any
---@param control? any
---@return tidegate.Sequence
function tg.seq(iterator, state, control) end

--- A lazy sequence of what `produce` yields. Each element is printed where it is yielded, and
--- `yield` suspends the producer while the client is slow.
---@param produce async fun(yield: fun(element: any))
---@return tidegate.Generator
function tg.generate(produce) end

---@class tidegate.FileOptions
---@field root? string a folder that path is relative to and does not leave, by ".." or by links
---@field follow? boolean links may lead out of root
---@field content_type? string else by the path's extension
---@field etag? string|false else made of inode, size and time of change
---@field last_modified? number|false seconds since 1970; else the file's
---@field ranges? boolean false: the whole file or nothing
---@field download? boolean|string to be saved under its own or another name
---@field sendfile? boolean false: the file is read and then sent

--- A file as a body: opened when it is sent. One that is missing, or is no regular file, is an
--- error of status 404, one that may not be read of 403. As the body of a 200 to GET or HEAD it is
--- what the client's conditions and ranges ask for: 206, 304, 412, 416. Headers that the response
--- has itself win.
---@param path string
---@param options? tidegate.FileOptions
---@return tidegate.File
function tg.file(path, options) end

--- For tg.files: what is at a path below root, or the name of an errno. Links out of it are
--- followed when the third argument says so.
---@param root string
---@param path string "" for root itself
---@param follow? boolean
---@return "file"|"folder"|"other"|nil kind
---@return string? why
function tg._stat_below(root, path, follow) end
--- What is in a folder, in no order: 10,000 entries at the most, and whether there are more.
---@param root string
---@param path string
---@param follow? boolean
---@return { name: string, kind: string, size: integer, modified: integer }[]? entries
---@return boolean|string more or why
function tg._list_below(root, path, follow) end
--- The media type of the path's extension.
---@param path string
---@return string
function tg._media_type(path) end

---@class tidegate.Stats
---@field worker integer the one that asks, from 1 on
---@field workers integer
---@field generation integer
---@field uptime number seconds
---@field connections integer open now
---@field reloads_failed integer times that the script was not loaded anew
---@field exchanges table<string, integer> open, total, bytes; streams: responses that have begun
--- and have not ended; done, client_closed, timeout, error, shutdown, cancelled; and by answer:
--- none, 1xx, 2xx, 3xx, 4xx, 5xx
---@field memory { lua: integer, heap: integer, blocks: integer } bytes of this Lua state and of the
--- whole process, and how many blocks the gateway has allocated in C
---@field upstream { total: integer, open: integer, connections: integer,
--- failed: table<string, integer> } requests to other servers; failed by kind, as tg.fetch's errors
---@field loops tidegate.LoopStats[] of each worker
---@field topics tidegate.TopicsStats

---@class tidegate.LoopStats
---@field waits integer how often a task has begun to wait
---@field lua integer bytes of its states, those of replaced scripts too; up to 250 ms old
---@field lag { sum: number, count: integer, buckets: { up_to: number, count: integer }[] } how late
--- the loop was in seconds, looked at four times a second; a bucket counts those before it, too

--- What the gateway does, in figures: those of all workers, added up.
---@return tidegate.Stats
function tg.stats() end

---@class tidegate.RouteStats
---@field answers table<string, integer> exchanges that have ended by status ("200"); "none":
--- nothing was sent; "other": more statuses than fifteen
---@field microseconds integer from the requests' heads to the ends of their exchanges, in all
---@field bytes integer of response bodies

--- The same by route: its name, else "METHOD /path"; "(no route)", "not_found", and "(refused)" for
--- heads that were. Past a thousand names they are counted as "(others)".
---@return table<string, tidegate.RouteStats>
function tg.route_stats() end

--- A store of strings and numbers that all workers and generations of the script have in common.
--- Every call is atomic. What was used least recently makes room for what is new.
---@class tidegate.Shared
local Shared = {}
--- nil where there is nothing, or its time is over.
---@param key string 1 to 1024 bytes
---@return string|number|nil
function Shared:get(key) end
--- Raises when the value alone is larger than the store. nil takes the key away.
---@param key string
---@param value string|number|nil
---@param ttl? number seconds; for good without it
function Shared:set(key, value, ttl) end
--- As set, where there is nothing yet.
---@param key string
---@param value string|number
---@param ttl? number
---@return boolean done
function Shared:add(key, value, ttl) end
--- Adds to the number there, or to 0, and returns the sum. A string there is an error.
---@param key string
---@param by? number 1
---@param ttl? number of a key that is made by it; one that is there keeps its own
---@return number
function Shared:incr(key, by, ttl) end
--- As set, where the value there equals old (nil: there is none).
---@param key string
---@param old string|number|nil
---@param value string|number|nil nil takes the key away
---@param ttl? number
---@return boolean done
function Shared:cas(key, old, value, ttl) end
---@param key string
---@return boolean there whether there was something
function Shared:delete(key) end
--- The keys that begin with prefix, most recently used first.
---@param prefix? string
---@param most? integer 100000
---@return string[]
function Shared:keys(prefix, most) end
--- Seconds until the key goes; nil when it does not, or is not there.
---@param key string
---@return number?
function Shared:ttl(key) end
--- Takes all keys away.
function Shared:clear() end
--- bytes holds keys, values and their keeping; evicted counts what went before its time.
---@return { count: integer, bytes: integer, bytes_max: integer, evicted: integer }
function Shared:stats() end

--- The store of that name, made at its first use.
---@param name string 1 to 128 bytes; there may be 1024 stores
---@param options? { bytes: integer } its cap, 16 MiB unless said; a later one changes it
---@return tidegate.Shared
function tg.shared(name, options) end

---@class tidegate.FetchOptions
---@field method? string GET, or POST where there is a body
---@field headers? tidegate.Forward|table<string, string|number|(string|number)[]>
--- none of the connection's or the framing's
---@field body? any a string, the client's request.body, or any other body: what is printed is JSON,
--- or what a Content-Type among the headers says
---@field request? tidegate.Request passed on: its method, its body, and its headers as tg.forward
--- has them, each unless there is an option for it
---@field timeout? number seconds from the end of the request to the response's head: 30; 0 for none
---@field connect_timeout? number seconds for the name, the connection and the handshake: 10
---@field idle_timeout? number seconds without a byte of a body that is waited for: 60
---@field unix? string the path of a socket to connect to, whatever host the URL names
---@field ca? string a file of certificates to trust instead of the system's
---@field insecure? boolean trust any certificate
---@field version? "1.0"|"1.1" 1.1
---@field redirects? integer how many to follow: 0
---@field decode? boolean|integer undo gzip and deflate, up to so many bytes (true: 1 GiB)
---@field trace? boolean false: the trace of the client's request (traceparent, tracestate) is not
--- passed on
---@field load? tidegate.UpstreamLoad counts it, from its start to the end of its body

--- What went wrong with a fetch; it may be raised, and so may its message (by assert): either is
--- answered by its status then.
---@class tidegate.FetchFailure
---@field message string
---@field status integer 504 for a timeout, 502 for most others
---@field kind "resolve"|"connect"|"tls"|"timeout"|"closed"|"protocol"|"limit"|"redirects"|"memory"
---@field sent boolean a server may have seen something of the request

--- A response of another server. A handler may return it, and interceptors change it, like any
--- other. Used as a body it stands for its body, with the media type and coding that the server
--- said. As a <close> variable it closes its body.
---@class tidegate.UpstreamResponse: tidegate.Response
---@field status integer
---@field headers table<string, string|string[]> in any case; a list where a name is repeated. The
--- fields of the connection and the body's framing are not there.
---@field length integer? what Content-Length said
---@field body tidegate.UpstreamBody

--- A request to another server, over a connection that is kept for the next. Returns when the
--- response's head is there. What goes wrong on the way is returned, mistakes in the arguments are
--- raised. The transfer ends with the exchange, at the latest.
---@async
---@param url string http or https, percent-encoded; sent as it is
---@param options? tidegate.FetchOptions
---@return tidegate.UpstreamResponse? response
---@return string? message
---@return tidegate.FetchFailure? failure
function tg.fetch(url, options) end

---@class tidegate.ForwardPolicy
---@field host? string "upstream" (no Host: the URL says it), "preserve" (the client's), or a name
---@field forwarded? "x"|"forwarded"|"none" X-Forwarded-For, -Proto, -Host; or RFC 7239's field
---@field trust? boolean what the client says of proxies before us is passed on; else it is dropped
---@field via? string|false our name in Via: "tidegate"

--- The headers of a request as a proxy passes them on, for tg.fetch: without the connection's own
--- and those that Connection names, repeated ones still repeated; and what scripts have done to
--- request.headers.
---@param request tidegate.Request
---@param policy? tidegate.ForwardPolicy
---@return tidegate.Forward
function tg.forward(request, policy) end

---@class tidegate.Forward
local Forward = {}
--- A copy to be edited, looked up in any case.
---@return table<string, string|string[]>
function Forward:table() end

--- A new counter of requests that are under way, for tg.fetch's option `load`.
---@return tidegate.UpstreamLoad
function tg.fetch_load() end

---@class tidegate.UpstreamLoad
local UpstreamLoad = {}
---@return integer
function UpstreamLoad:count() end

--- The body of a response of another server, read at the pace of its reader. Where it breaks off,
--- reading raises with a status: a part is never taken for the whole.
---@class tidegate.UpstreamBody
local UpstreamBody = {}
--- The next chunk, or nil at the end.
---@async
---@return string?
function UpstreamBody:read() end
--- for chunk in response.body:chunks() do
---@return async fun(): string?
function UpstreamBody:chunks() end
--- The whole of it, or an error with status 502 when it is larger.
---@async
---@param limit? integer bytes: limits.body_buffer
---@return string
function UpstreamBody:all(limit) end
--- Ends the transfer. The connection is closed unless all of it has come.
function UpstreamBody:close() end

--- What a function of a format returns is written, if it is a string; or it writes to `out` itself,
--- whose out:print() prints JSON, and a line break. They may wait.
---@class tidegate.FormatOptions
---@field element fun(value: any, out: tidegate.Writer, index: integer): string? index: from 1 on; 0
--- for what is printed by out:print() in a function body
---@field begin? string|fun(out: tidegate.Writer): string? before the first, or in the place of any
---@field between? string|fun(out: tidegate.Writer, index: integer): string? before the others
---@field after? string|fun(out: tidegate.Writer, index: integer): string? after each
---@field finish? string|fun(out: tidegate.Writer, count: integer): string? at the end
---@field content_type? string of a response that has none; the media type itself

--- Adds a format that sequences and tables are printed in when a response's Content-Type, or the
--- request's Accept, asks for it. A list's items are elements; so is any other table. Raises when
--- there is one of the media type already.
---@param media_type string without parameters
---@param options tidegate.FormatOptions
function tg.format(media_type, options) end

---@class tidegate.Csv

---@class tidegate.CsvOptions
---@field columns? string[] those that are printed, in this order, of rows that are maps; rows that
--- are lists have their cells. Else the sorted names of the first row: later ones have no others.
---@field header? boolean false: none; else the names of the columns, where they have some
---@field separator? string one character: ","

--- A body that is rows of CSV (RFC 4180), whatever the client accepts. What a spreadsheet would
--- take for a formula ("=1+1") is not changed.
---@param rows table|tidegate.Sequence|tidegate.Generator|thread of lists, maps or single values
---@param options? tidegate.CsvOptions
---@return tidegate.Csv
function tg.csv(rows, options) end

--- Marks for tables that print as JSON.
tg.json = {}
--- Prints as null.
tg.json.null = nil
--- The table itself, which prints as a list even when it is empty.
---@param list table without a metatable
---@return table
function tg.json.array(list) end
--- The table itself, which prints as an object even when it is empty.
---@param map table without a metatable
---@return table
function tg.json.object(map) end
--- Whether the text is JSON (RFC 8259), no deeper than 128 lists and objects.
---@param text string
---@return boolean
function tg.json.valid(text) end

--- The value of a JSON text. null is tg.json.null, at the top too; what is written as an integer is
--- one where 64 bits hold it, other numbers are floats. Objects print as objects again, empty ones
--- too; an empty list is a table without a mark, which prints as `[]`. nil and why for what is no
--- JSON, is nested deeper than 128, or is no value of Lua's: half a surrogate pair, 1e999.
---@param text string
---@return any value
---@return string? why
function tg.json.decode(text) end

--- The JSON text of a value, printed as a body would be: sorted keys, sequences run to their end.
--- Raises what cannot be printed, with its path.
---@async
---@param value any
---@return string
function tg.json.encode(value) end

--- A named stream of events, common to all workers and to all loadings of the script. As a body it
--- is a stream of what is published from then on, or from behind the id that the client names as
--- the last it has seen (Last-Event-ID, or `after` in the query): text/event-stream, or
--- application/x-ndjson where the client would rather have that. It has no coroutine behind it.
---@class tidegate.Topic
---@field name string
local Topic = {}

--- overflow: what becomes of a subscriber that is behind by more than the history (or than 64
--- events, where that is shorter). history_bytes: the newest event is there whatever its size.
---@class tidegate.TopicOptions
---@field history? integer events that can be asked for again (100)
---@field history_bytes? integer of memory, about (1 MiB)
---@field max_age? number seconds, of events in the history; 0: any (0)
---@field linger? number seconds that the history stays when nobody has the topic (60)
---@field heartbeat? number seconds of silence before a comment is sent; 0: none (15)
---@field overflow? "drop_oldest"|"latest"|"close"|"block"

--- What is published: data as text, or as what prints as JSON.
---@class tidegate.TopicEvent
---@field event? string its name; "message" to browsers when there is none
---@field data? string|number|boolean|table
---@field key? string for overflow = "latest"; the event's name when there is none
---@field json? boolean data is a string that is JSON already

--- What topic:events() gives.
---@class tidegate.TopicNews
---@field id string? nil for a gap
---@field event string? "tidegate-gap" where events are missing
---@field data string? text, or JSON
---@field json boolean? whether data is JSON
---@field key string?
---@field missed integer? events in a gap, where that is known

--- The topic of this name, made when it is first asked for. Options that are given hold from then
--- on, for everybody.
---@param name string
---@param options? tidegate.TopicOptions
---@return tidegate.Topic
function tg.topic(name, options) end

--- Sends an event to everybody. Returns its id; nil, "closed" when the topic was closed. With a
--- topic of overflow = "block", `wait` makes it wait while a subscriber would miss an event: true
--- for as long as it takes, or seconds, after which it returns nil, "timeout" and nothing was
--- published.
---@async
---@param event string|tidegate.TopicEvent
---@param options? { wait: boolean|number }
---@return string? id
---@return string? why
function Topic:publish(event, options) end

--- for event in topic:events() do: what is published from now on, or from behind the id `after`.
--- The loop ends when the topic is closed.
---@async
---@param after? string
---@return async fun(): tidegate.TopicNews?
function Topic:events(after) end

--- How many streams follow it now, in all workers.
---@return integer
function Topic:subscribers() end

--- Ends the streams of its subscribers once they have everything. The name is free for another.
function Topic:close() end

--- Of a topic, since it was made; in tg.stats().topics of all of them, since the start.
---@class tidegate.TopicFigures
---@field subscribers integer now, readers among them
---@field published integer events
---@field delivered integer events, each counted for each subscriber that got it
---@field dropped integer the same for those that did not

---@class tidegate.TopicStats : tidegate.TopicFigures
---@field history integer events that are kept
---@field history_bytes integer
---@field slow { who: string, behind: integer, dropped: integer }[] whose client is not done reading

---@class tidegate.TopicsStats : tidegate.TopicFigures
---@field count integer of topics
---@field slow integer of subscribers
---@field by_name table<string, tidegate.TopicStats> a thousand of them at most

--- For tg.multipart: a parser, whose feed(bytes) gives a list of events, or nil and why.
---@private
function tg._multipart(boundary) end

--- For tg.body_params: a form's pairs, nil when there are more than most.
---@private
---@param text string
---@param lists boolean all values of each name, not the first
---@param most integer
---@return table<string, string|string[]>?
function tg._parse_form(text, lists, most) end

--- For tg.poll: what follows the id `after` as JSON (with lines: a line for each event), and the
--- id to go on after; nil and that id when nothing came.
---@private
---@async
function Topic:_poll(after, seconds, lines) end

--- A stream of events to one client, as tg.sse gives it. All of it raises tg.closed once the client
--- has gone.
---@class tidegate.Events
---@field last_id string? of the last event that the client has seen: Last-Event-ID, or `after` in
--- the query
local Events = {}

---@class tidegate.Event
---@field event? string its name; "message" to browsers when there is none
---@field data? any text as it is, each of its lines a field; what is no text as JSON
---@field id? string what Last-Event-ID will be when the client comes back
---@field retry? integer milliseconds that the client is to wait before it comes back

--- Sends an event, or a text as one. It goes out as a whole, when the caller waits next; waits
--- itself while the client is slow. Raises for an event or id with a line break or NUL, and when
--- there is nothing in it.
---@async
---@param event string|number|boolean|tidegate.Event|tidegate.TopicNews
---@return tidegate.Events
function Events:send(event) end
--- What clients pass over.
---@async
---@param text? string
---@return tidegate.Events
function Events:comment(text) end
--- Sends what was written so far, now.
---@async
---@return tidegate.Events
function Events:flush() end
--- Sends what follows events.last_id in the topic, and then what is published, until the topic is
--- closed. Nothing of Lua runs meanwhile; other tasks may send in between. `after` is another id to
--- begin behind; false: from now on.
---@async
---@param topic tidegate.Topic
---@param options? { after: string|false|nil }
function Events:subscribe(topic, options) end
--- Ends the stream, and a subscription of it.
function Events:close() end

--- For tg.sse, which has checked what it gives.
---@private
function tg._sse(run, response, heartbeat, retry) end

--- Time that a test moves. Everything that waits goes by it: tg.sleep, timeouts, heartbeats, the
--- limits' times, tg.now and tg.monotonic. As a `<close>` variable it stops with its scope.
---@class tidegate.test.Clock
local Clock = {}
--- So much time passes, from timer to timer: what each sets off has come as far as it does before
--- the next one. Returns when there is nothing left to do.
---@async
---@param seconds number
function Clock:advance(seconds) end
--- From now on time passes by itself, and for nothing: whenever there is nothing else to do the
--- next timer is due. For tests that wait for what takes long; not together with what comes from
--- outside of the process.
function Clock:run() end
---@return number seconds as tg.monotonic has them
function Clock:now() end
--- Real time again: who waits goes on waiting for as long as there was left. A second stop does
--- nothing.
function Clock:stop() end

--- For tg.test.clock.
---@private
---@return tidegate.test.Clock
function tg._test_clock() end

--- The message, raised as it is, is answered by this status.
---@private
---@param message string
---@param status integer
function tg._remember_failure(message, status) end

--- For tg.test: a service that is tried in its own state, and what service.check() made of it.
---@private
function tg._test_service(service) end

--- For tg.test: the client of an exchange without a socket. nil, and a status, when its head is
--- refused.
---@private
---@return tidegate.test.Client?
---@return integer?
function tg._test_client(service, head, secure) end

---@private
---@class tidegate.test.Client
local Client = {}
--- Waits for the response's head.
---@private
---@async
---@return integer? status
---@return table<string, string|string[]> headers
function Client:head() end
--- Waits for the next bytes of the body, and when they were sent.
---@private
---@async
---@return string?
---@return number
function Client:take(most) end
--- Waits for the end: whether the response is whole, how the exchange has ended, the error that
--- nobody has handled, and what was logged of the service since this was asked last.
---@private
---@async
---@return boolean
---@return string
---@return string?
---@return string
function Client:over() end
---@private
function Client:leave() end
---@private
---@return integer bytes that were sent and not taken
function Client:waiting() end
--- More of the request's body; false when nobody reads it any more.
---@private
---@async
---@return boolean
function Client:feed(data) end
---@private
function Client:feed_end() end

--- For tg.test.upstream: a listener on a free port of 127.0.0.1, or one of its connections.
---@private
---@class tidegate.test.Wire
local Wire = {}
---@private
---@async
---@return tidegate.test.Wire
function Wire:accept() end
--- nil, "closed" or "reset" at the end.
---@private
---@async
---@return string?
---@return string?
function Wire:read() end
---@private
---@async
---@return boolean?
---@return string?
function Wire:write(bytes) end
---@private
function Wire:close() end
---@private
function Wire:reset() end
---@private
---@return integer
function Wire:port() end
---@private
---@return tidegate.test.Wire
function tg._test_listen() end

--- What a script returns. A key that is not here is an error, as is everything else that is wrong
--- with it: `tidegate check` reports all of it.
---@class tidegate.Service
---@field routes? tidegate.ServiceRoute[]
---@field interceptors? (tidegate.Interceptor|function)[] around every route, and what no route has
---@field not_found? fun(request: tidegate.Request, ctx: tidegate.Context): tidegate.Response the
--- answer where no route has the path; a plain 404
---@field listen? string|string[] "host:port", "[v6]:port" or "unix:/path"; "127.0.0.1:8080"
---@field tls? table { cert, key }: files, or a list of such pairs. All TCP listeners have TLS then
---@field workers? integer loops, each with a thread and a Lua state; one for each processor
---@field limits? table<string, number> by name, sizes in bytes and times in seconds; 0 for none
---@field log? "text"|"json"|"off"|{ format: string, headers: string[] } the access log
---@field check? async fun(gateway: tidegate.Gateway): boolean?, string? a smoke test, before this
--- script serves and in a state of its own: what it raises, or false and why, keeps the script from
--- serving. It may use tg.test, and has limits.response_timeout
---@field on_start? async fun(gateway: tidegate.Gateway) called in each worker when it begins to
--- serve
---@field on_stop? async fun(gateway: tidegate.Gateway) called in each worker when it has stopped,
--- or a newer script has taken over and the last exchange of this one has ended

--- A route, or what several have in common: the path first, then its methods, each with a handler
--- or a list of interceptors that ends in one, then routes that are nested in it.
---@class tidegate.ServiceRoute
---@field [1] string the path: `:name` is one segment of it, a last `*name` the rest
---@field [integer] tidegate.ServiceRoute whose paths begin with this one's
---@field name? string for tg.url_for and the log
---@field host? string the route is for this host alone
---@field constraints? table<string, string> Lua patterns, each for a whole parameter
---@field interceptors? (tidegate.Interceptor|function)[] of the routes nested in it, too
---@field any? function|(tidegate.Interceptor|function)[] for methods that are not here; and get,
--- head, post, put, patch, delete, options, trace alike

--- What check, on_start and on_stop are given.
---@class tidegate.Gateway
---@field worker integer from 1 on; 0 in a check
---@field generation integer how many times the script was loaded
---@field service? table in a check: the service that is checked; tg.test takes the gateway for it

--- What a script gets of a request. Fields are made when they are looked at; a script may set
--- more.
---@class tidegate.Request
---@field method string
---@field target string as it was sent
---@field path string still encoded
---@field query table<string, string> decoded: the first value of each name
---@field query_list table<string, string[]> decoded: all of them
---@field query_string string
---@field headers table<string, string> in any case; repeated ones joined with ", ". What is set, in
--- any case, takes the place of what was sent, nil takes it away
---@field path_params table<string, string> decoded
---@field scheme "http"|"https"
---@field host string
---@field port integer
---@field protocol "HTTP/1.0"|"HTTP/1.1"
---@field remote_addr string "unix:" over a unix socket
---@field remote_port integer
---@field id string unique
---@field route_name string?
---@field trace_id string? of its traceparent, where that is valid
---@field body_params any what tg.body_params has read
---@field json_params any
---@field form_params table<string, string>?
---@field form_params_list table<string, string[]>?
---@field body tidegate.RequestBody

--- The request's body, as it comes. It may be a response's body. It is not kept: to read the whole
--- of it, or send it on, after it was read to its end raises.
---@class tidegate.RequestBody
local RequestBody = {}
--- The next chunk, or nil at the end. Raises with status 400 when its framing breaks, 413 when it
--- is larger than limits.body_bytes.
---@async
---@return string?
function RequestBody:read() end
--- for chunk in request.body:chunks() do
---@return async fun(): string?
function RequestBody:chunks() end
--- The whole of it, up to limits.body_buffer: past that it raises with status 413.
---@async
---@return string
function RequestBody:all() end

--- The producing end of a response's body. All of it raises tg.closed once the client has gone.
---@class tidegate.Writer
---@field bytes integer written so far
local Writer = {}
--- Suspends the caller while the client is slow.
---@async
---@param ... string|number
---@return tidegate.Writer
function Writer:write(...) end
--- In the response's format; as JSON where it has none.
---@async
---@param value any
function Writer:print(value) end
--- Sends what is gathered, and the head if that has not gone.
---@async
---@return tidegate.Writer
function Writer:flush() end
--- Ends the body.
function Writer:close() end

--- What an exchange carries through its interceptors.
---@class tidegate.Context
---@field request tidegate.Request
---@field response tidegate.Response?
---@field [string] any
local Context = {}
--- Appends interceptors to the queue; a function is a handler. Raises for what is none, and then
--- nothing is queued.
---@param ... tidegate.Interceptor|function
function Context:enqueue(...) end
--- Drops what has not entered yet.
function Context:terminate() end
--- Calls the predicate after each enter from this one on: true drops what has not entered.
---@param predicate fun(ctx: tidegate.Context): any
function Context:terminate_when(predicate) end
--- Calls f once when the exchange has ended: "done", "client_closed", "timeout", "error" (with the
--- err table), "shutdown" or "cancelled". f may not wait.
---@param f fun(reason: string, err: table?)
function Context:on_close(f) end
--- Sends the response's head at once, and its body if it has one; more may follow. Without a
--- status it is 200. From any stage, body or task of the exchange; what several tasks write at the
--- same time is mixed.
---@async
---@param response tidegate.Response
function Context:write_response(response) end
--- Writes a body of any type, after what was written before; an implicit 200 when nothing was.
---@async
---@param body any
function Context:write_response_body(body) end
--- Sends what was written so far, now.
---@async
function Context:flush() end
--- Whether anything of a response was committed: its status and headers can be changed no more.
---@return boolean
function Context:response_sent() end

--- What an error stage is given.
---@class tidegate.Err
---@field message string
---@field value any what was raised
---@field stage "enter"|"leave"|"error"|"body"
---@field interceptor string? whose stage it was; nil for a body
---@field traceback string?
---@field status integer of the answer when nobody handles it
---@field suppressed tidegate.Err[] what was being handled when this was raised

--- What a handler returns, or an interceptor sets as ctx.response. It may have other keys, but none
--- that looks like one of these misspelt.
---@class tidegate.Response
---@field status? integer 200..999; 200 when there is a body
---@field headers? table<string, string|number|(string|number)[]> a list: the field is repeated
---@field body? any a string, a table, a function of a writer, or any of the types in docs/bodies.md

---@class tidegate.BodyParamsOptions
---@field max_params? integer pairs of a form (1000)
---@field pass? boolean bodies of other types are left alone (415)

---@class tidegate.Constraint
---@field param string
---@field pattern string anchored

---@class tidegate.Description
---@field listen? string[]
---@field workers? integer
---@field limits? table<string, number>
---@field tls? { cert: string, key: string }[]
---@field log? { format?: "text"|"json"|"off", headers: string[] }
---@field check? function
---@field on_start? function
---@field on_stop? function
---@field not_found? function
---@field interceptors tidegate.Interceptor[]  of the service, around unmatched requests too
---@field routes tidegate.Route[]

---@class tidegate.ErrorValue
---@field status integer
---@field message string
---@field [string] any

---@class tidegate.FilesOptions
---@field param? string the splat that holds the path: "path"
---@field index? string|string[]|false what a folder is answered with: "index.html"
---@field listing? boolean whether a folder without an index is listed
---@field hidden? boolean whether names that begin with a dot are served
---@field follow? boolean whether links may lead out of root
---@field precompressed? boolean whether name.br, name.zst and name.gz are sent to who takes them
---@field cache_control? string|number Cache-Control of the files; a number is their max-age
---@field ranges? boolean
---@field etag? boolean
---@field download? boolean whether the files are to be saved

---@class tidegate.HealthOptions
---@field path? string          what is asked for ("/")
---@field interval? number      seconds between two checks of a server (5)
---@field timeout? number       seconds for an answer (2)
---@field status? integer[]     the answers that are well (200 to 399)
---@field unhealthy? integer    bad ones in a row, until the server is left alone (2)
---@field healthy? integer      good ones in a row, until it is asked again (2)
---@field headers? table        of the request

--- What is around a handler: `enter` on the way in, `leave` on the way out, in reverse, `error`
--- when something inside it has failed. Any may be absent, and any may wait. A stage changes ctx,
--- and returns nothing or a context. One with a handler alone is the last of a chain.
---@class tidegate.Interceptor
---@field name? string for the log, and for err.interceptor
---@field enter? async fun(ctx: tidegate.Context): tidegate.Context?
---@field leave? async fun(ctx: tidegate.Context): tidegate.Context?
---@field error? async fun(ctx: tidegate.Context, err: tidegate.Err): tidegate.Context? returning is
--- handling it; raising err again declines
---@field handler? async fun(request: tidegate.Request, ctx: tidegate.Context): tidegate.Response

---@class tidegate.LimitOptions
---@field rate number                requests a second, on average
---@field burst? number              requests at once (1)
---@field key? fun(ctx: tidegate.Context): string?  whom to count; nil: nobody. Else the address
---@field store? string              the name of the tg.shared that counts ("tidegate.limit")
---@field status? integer            of the refusal (429)
---@field on_limited? fun(ctx: tidegate.Context, retry_after: integer): tidegate.Response?

---@class tidegate.OnErrorOptions
---@field match? fun(err: tidegate.Err): any | table  all without it; a list: any of them
---@field handle fun(ctx: tidegate.Context, err: tidegate.Err): tidegate.Response?
---@field name? string "on_error"

--- One part of a form: a stream, good until the next one is asked for. It may be a response's
--- body.
---@class tidegate.Part
---@field name string? as its Content-Disposition says; what browsers escape in it, a quote or a
--- line break, is unescaped
---@field filename string? as the client says: not to be trusted as a path
---@field content_type string
---@field headers table<string, string> by name in lower case
---@field source tidegate.multipart.Source
---@field over boolean
local Class10 = {}
--- The next chunk, or nil at the part's end. Raises with status 400 where the form is malformed.
---@async
---@return string?
function Class10:read() end
--- for chunk in part:chunks() do
---@return async fun(): string?
function Class10:chunks() end
--- The whole of it, up to most bytes (limits.body_buffer is for bodies; 1 MiB here): else 413.
---@async
---@param most? integer
---@return string
function Class10:all(most) end

---@class tidegate.PollOptions
---@field timeout? number seconds (25); less than limits.response_timeout

---@class tidegate.Pool
---@field targets tidegate.upstream.Target[]
---@field slow_start number
local Class12 = {}
--- The server to ask next, or nil when there is none that may be asked.
---@param tried table<tidegate.upstream.Target, true> not these
---@param key? string for "hash"
---@return tidegate.upstream.Target?
function Class12:pick(tried, key) end
--- What came of asking a server.
---@param target tidegate.upstream.Target
---@param response? tidegate.UpstreamResponse
---@param failure? tidegate.FetchFailure
---@return boolean well
function Class12:report(target, response, failure) end
--- tg.fetch of a path, from one of the servers: another is asked where the first fails and that is
--- safe. With the option `key` (a string) it is chosen by that, for "hash".
---@async
---@param path string begins with a slash; goes behind the server's own
---@param given? tidegate.FetchOptions
---@return tidegate.UpstreamResponse? response
---@return string? message
---@return tidegate.FetchFailure? failure
---@return tidegate.upstream.Target? target that was asked last
function Class12:fetch(path, given) end
--- How each server does, for whoever wants to look.
---@return { name: string, state: string, load: integer, fails: integer }[]
function Class12:status() end

---@class tidegate.PoolOptions
---@field targets (string|table)[]   URLs, "unix:/path", or { url =, weight =, unix =, ca =, … }
---@field balance? "round_robin"|"least_connections"|"hash"
---@field hash? fun(request: tidegate.Request): string?  the key for "hash": the client's address
---@field retries? integer           on other servers, where it is safe (1)
---@field max_fails? integer         in a row, before a server is left alone (3); 0: never
---@field fail_timeout? number       seconds, until it is tried again (10)
---@field fail_status? integer[]     answers that count as failures, and are asked for elsewhere
---@field slow_start? number         seconds, until one that came back has its full share (0)
---@field health? tidegate.HealthOptions  asks each of them now and then, from the start on

---@class tidegate.ProxyOptions
---@field strip? string              what the path loses at its front ("/api")
---@field path? fun(path: string, request: tidegate.Request, ctx: tidegate.Context): string
---@field host? string               "upstream" (the server's own), "preserve", or a name
---@field forwarded? "x"|"forwarded"|"none"  X-Forwarded-For, -Proto, -Host; or RFC 7239's
---@field trust? boolean             what the client says of proxies before us is passed on
---@field via? string|false          our name in Via ("tidegate")
---@field request_headers? table|fun(headers: table, request: tidegate.Request,
--- ctx: tidegate.Context)  edits: names to values, or false to take one away
---@field response_headers? table|fun(headers: table, response: tidegate.UpstreamResponse,
--- request: tidegate.Request, ctx: tidegate.Context)
---@field rewrite_location? boolean  redirects of the server's to itself come back to us (true)
---@field timeout? number            as in tg.fetch, like those below
---@field connect_timeout? number
---@field idle_timeout? number
---@field ca? string
---@field insecure? boolean
---@field unix? string
---@field version? string

--- authorise says whether the request may publish. Where it does not, its second result may be the
--- response; else that is a 403.
---@class tidegate.PublishOptions
---@field authorise? async fun(request: tidegate.Request, ctx: tidegate.Context): any, any
---@field max_bytes? integer of a body (65536)

---@class tidegate.Route
---@field method string        "GET"; "" for any
---@field host string          "" for every host
---@field path string          full: the parents' are joined to it
---@field name? string
---@field constraints tidegate.Constraint[]
---@field interceptors tidegate.Interceptor[]  all, in order; the last one is the handler
---@field source string        "routes[2][1]": the first route nested in the second

---@class tidegate.SseOptions
---@field heartbeat? number seconds of silence before a comment is sent: 15; false for none
---@field retry? integer milliseconds that clients are told to wait before they come back
---@field headers? table<string, string|number|(string|number)[]> beside those of an event stream

--- A topic, its name, or what gives one for a request; nil is answered with 404.
---@alias tidegate.TopicFinder
---| tidegate.Topic
---| string
---| async fun(request: tidegate.Request, ctx: tidegate.Context): tidegate.Topic|string|nil

--- What a request is made of, and how its client behaves.
---@class tidegate.test.Options
---@field headers? table<string, string|number|(string|number)[]> Host: localhost unless it is here
---@field body? string|string[]|fun(): string? whole, or in chunks: a list, or a function that gives
--- the next one and may wait
---@field json? any a body: the value as JSON, with its Content-Type
---@field form? table<string, any> a body: fields of a form, with its Content-Type
---@field scheme? "http"|"https"
---@field read? number|async fun(chunk: string) how slowly the client reads: bytes per second, or
--- what is called with each chunk before it reads on
---@field leaves_after? integer the client leaves when it has so many bytes of the body; 0: with the
--- head
---@field most? integer bytes of a body that response_for keeps (16 MiB); an error past it

---@alias tidegate.test.Plans
---| tidegate.test.UpstreamPlan
---| async fun(request: tidegate.test.UpstreamRequest): tidegate.test.UpstreamPlan?

--- A whole response, as tg.test.response_for gives it.
---@class tidegate.test.Response
---@field status integer? nil: the exchange has ended without an answer
---@field headers table<string, string|string[]>? in any case; a list where a name is repeated
---@field body string
---@field chunks { data: string, at: number }[] the body as it was sent, in seconds from the request
---@field ending string as on_close callbacks are told: "done", "client_closed", "timeout", "error"
---@field broken boolean? true: the body is not whole
---@field error string? what nobody has handled, with its traceback
---@field log string warnings and errors, a line each, that a gateway would have logged of the
--- service's exchanges since the last response

--- A response on its way, as tg.test.stream_for gives it. As a `<close>` variable its client leaves
--- with the scope.
---@class tidegate.test.Stream
local Class22 = {}
--- Waits for the response's head.
---@async
---@return integer? status nil: the exchange has ended without an answer
---@return table<string, string|string[]>? headers
function Class22:head() end
--- Waits for the next chunk of the body: what was sent at a time, or as much as a slow client
--- reads. nil at the end.
---@async
---@return string? chunk
---@return number? at when it was sent, in seconds from the request
function Class22:read() end
--- for chunk, at in stream:chunks() do
---@return async fun(): string?, number?
---@return tidegate.test.Stream
function Class22:chunks() end
--- How much was sent that the client has not read: what a producer is held back by.
---@return integer bytes
function Class22:waiting() end
--- The client leaves, now.
function Class22:leave() end
--- Waits for the end of the exchange. Who has not read everything has to read or leave before.
---@async
---@return string ending as on_close callbacks are told: "done", "client_closed", "timeout", "error"
---@return boolean whole whether the client was sent all of it
---@return string? error what nobody has handled, with its traceback
---@return string log as in tidegate.test.Response
function Class22:over() end
--- Reads the rest, and waits for the end.
---@async
---@return tidegate.test.Response
function Class22:response() end

---@class tidegate.test.Upstream
---@field url string "http://127.0.0.1:PORT"
---@field port integer
---@field requests tidegate.test.UpstreamRequest[] all so far, the first one first
---@field connections integer how many were accepted
local Class23 = {}
--- Ends it: whoever connects from now on is refused, and what it has open is closed.
function Class23:close() end

--- What such a server does with a request. One of close, reset and hang says where it stops:
--- "accept" (at once, nothing is read), "request" (that was read, nothing is answered), "head" (in
--- the middle of it), or behind so many bytes of the body.
---@class tidegate.test.UpstreamPlan
---@field status? integer 200
---@field headers? table<string, string|number|(string|number)[]>
---@field body? string|string[] whole, or in chunks
---@field chunked? boolean its framing; else its Content-Length is said
---@field delay? number seconds before the answer
---@field pace? number seconds between its chunks
---@field raw? string what is answered instead, byte for byte; then the connection is closed
---@field close? "accept"|"request"|"head"|integer where the connection is closed
---@field reset? "accept"|"request"|"head"|integer where it is reset
---@field hang? "accept"|"request"|"head"|integer where nothing comes any more

--- A request as the server has read it.
---@class tidegate.test.UpstreamRequest
---@field method string
---@field target string
---@field headers table<string, string> by names in lower case; repeated ones joined with ", "
---@field body string
---@field left boolean? the other side has gone while the answer hung, or before all of it was sent

tg.test = {}

--- A response. Without a status it is 200.
---@param body any
---@param status? integer
---@param headers? table<string, string|number|string[]>
---@return tidegate.Response
function tg.response(body, status, headers) end

--- Sends the client elsewhere.
---@param url string goes into Location as it is: percent-encode what needs it
---@param status? integer 301, 302, 303 (the default), 307 or 308
---@return tidegate.Response
function tg.redirect(url, status) end

--- The path of a named route of the script that is loaded, its parameters percent-encoded. What is
--- no parameter of the route goes to the query.
---@param name string
---@param params? table<string, string|number|(string|number)[]>
---@return string path
function tg.url_for(name, params) end

--- An interceptor that asks for the exchange's line in the access log. The gateway writes that line
--- itself when the exchange has ended, however it did, and writes it by default: the interceptor
--- says so in a script, and adds nothing to it.
---@return tidegate.Interceptor
function tg.access_log() end

--- A handler for a route that ends in a splat, or for a folder's own path:
--- `{ "/files/*path", get = tg.files("public") }`.
---@param root string a folder; what it does not hold is never served
---@param options? tidegate.FilesOptions
---@return fun(request: tidegate.Request): tidegate.Response
function tg.files(root, options) end

--- Reads JSON into request.json_params and forms into request.form_params (and form_params_list, as
--- query and query_list), either into request.body_params too. What is no JSON, or a form with too
--- many parameters, is 400; a body of another type 415, and one larger than limits.body_buffer 413.
--- A request without a body passes as it is.
---@param given? tidegate.BodyParamsOptions
---@return tidegate.Interceptor
function tg.body_params(given) end

--- Refuses with 429 and Retry-After (RFC 6585, section 4; RFC 9110, 10.2.3) what comes faster than
--- rate a second, bursts of `burst` allowed.
---@param given tidegate.LimitOptions
---@return tidegate.Interceptor
function tg.limit(given) end

--- A handler that answers with the gateway's figures, of all workers, in Prometheus's text format.
---@return fun(): tidegate.Response
function tg.metrics() end

--- Iterates over the parts of a form as they come: `for part in tg.multipart(request) do`. Nothing
--- is kept: what is not read of a part is passed over. Raises with status 415 where the request is
--- no multipart/form-data, and 400 where it is malformed.
---@async
---@param request tidegate.Request
---@param options? { max_parts: integer } 1000
---@return fun(source: table, last: tidegate.Part?): tidegate.Part?
---@return table source
function tg.multipart(request, options) end

--- An interceptor that handles the errors that match, and declines the others. A table matches
--- when each of its fields is that of err (stage, interceptor, status, message), or of err.value
--- when that is a table; tables inside it the same. handle may wait, set ctx.response or return a
--- response; what it raises goes on outwards, with err in `suppressed`.
---@param options tidegate.OnErrorOptions
---@return tidegate.Interceptor
function tg.on_error(options) end

--- Raises an error that is answered with this status when nobody handles it; in production the
--- client sees no more than the status.
---@param status integer 400..599
---@param message? string for the log, and for whoever handles it
---@param fields? table<string, any> more fields of err.value
function tg.error(status, message, fields) end

--- A handler that is a stream of events (text/event-stream): its head goes out at once, then `run`
--- is called, and when that returns the stream ends.
---@param run async fun(events: tidegate.Events, ctx: tidegate.Context)
---@param options? tidegate.SseOptions
---@return function handler
function tg.sse(run, options) end

--- Runs all functions, and waits for all tasks, of a table at the same time.
---@async
---@generic K
---@param work table<K, function|tidegate.Task>
---@return table<K, any> results the first value of each. The first failure cancels the others, and
--- is raised
function tg.all(work) end

--- As tg.all, until the first has ended: the others are cancelled.
---@async
---@generic K
---@param work table<K, function|tidegate.Task> not empty
---@return any result its first value; or its error is raised
---@return K key
function tg.race(work) end

--- Calls fn(...) and returns its results, if it has them in time. Else it is cancelled, and an
--- error is raised: { timeout = true, status = 503, message }.
---@async
---@param seconds number
---@param fn fun(...): ...
---@param ... any
---@return any ...
function tg.timeout(seconds, fn, ...) end

--- The body, whose chunks `sink` is given on their way: a function of (chunk), which is called with
--- nil at the end, or an object with `write`, whose `close`, if it has one, is called then. It
--- cannot change them, and may wait: the body waits with it. A body that fails or is cut has no
--- end: the sink hears no more of it.
---@param body any
---@param sink (fun(chunk: string?))|{ write: fun(self, chunk: string), close?: fun(self) }
---@return tidegate.Filter
function tg.tee(body, sink) end

--- Begins a request to a service, as if a client had sent it: through the router, the chain and
--- the body's streaming, with no socket in between. It goes on whenever the test waits. Requests
--- that the gateway itself would refuse, by a 400 say, are answered so, with no exchange.
---@param service table what a script returns; tried in this state, with its limits and no on_start
---@param method string
---@param target string as it would be sent: percent-encoded, with its query
---@param options? tidegate.test.Options
---@return tidegate.test.Stream
function tg.test.stream_for(service, method, target, options) end

--- The same, to the end: the whole response.
---@async
---@param service table
---@param method string
---@param target string
---@param options? tidegate.test.Options
---@return tidegate.test.Response
function tg.test.response_for(service, method, target, options) end

--- Time stands still from now on, until the test moves it. There is one clock: another one takes
--- its place. For `tidegate test` and for a service's check; a gateway that serves has the time
--- that there is.
---@return tidegate.test.Clock
function tg.test.clock() end

--- Another server, on a free port of 127.0.0.1: it answers each request as the plan says, or the
--- plan that the function gives for it. As a `<close>` variable it ends with its scope.
---@param plan? tidegate.test.Plans
---@return tidegate.test.Upstream
function tg.test.upstream(plan) end

--- A handler that publishes the body of a POST: JSON (application/json) or text (text/plain);
--- `event` and `key` may be in the query. The answer is { "id": "…" }; else 403, 404 where there is
--- no topic, 410 where it was closed, 413, 415, or 400 for what is not JSON, or not UTF-8.
---@param topic tidegate.TopicFinder
---@param options? tidegate.PublishOptions
---@return function handler
function tg.publish_handler(topic, options) end

--- A handler that answers with the events that follow the id `after` of the query: at once when
--- there are some, else when one comes; 204 when none did within the timeout. Without `after` it
--- waits for the next. They are a JSON array, or lines for a client that accepts
--- application/x-ndjson. The header Last-Event-ID is the id to ask after the next time.
---@param topic tidegate.TopicFinder
---@param options? tidegate.PollOptions
---@return function handler
function tg.poll(topic, options) end

---@param given tidegate.PoolOptions
---@return tidegate.Pool
function tg.pool(given) end

--- A handler that passes requests on. What fails on the way is raised, with the status 502, 503 or
--- 504; interceptors may handle it, and change the response like any other.
---@param target string|table|tidegate.Pool|fun(request: tidegate.Request, ctx: tidegate.Context):
--- string|tidegate.Pool  a URL with or without a path, "unix:/path", a pool; or what chooses one
---@param given? tidegate.ProxyOptions
---@return fun(request: tidegate.Request, ctx: tidegate.Context): tidegate.UpstreamResponse
function tg.proxy(target, given) end

return tg
