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

return tg
