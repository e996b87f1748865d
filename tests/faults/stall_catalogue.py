"""A hundred ways to hold a hub, each on one line, for `tests.faults.stalls`.

Each row is a name, an expression that prepares ``d`` for a size ``n``, and the statement that holds
the hub.  What depends on ``n`` is sized to take about `PAUSE` seconds; what waits takes so long by
itself.  The tables before `OPERATORS` have a hundred rows.  After an operator Python goes on with
the interpreter's lock, so the recorder can name the handler, but not the line.
"""

from __future__ import annotations

PAUSE = 0.3

WAITING = """
sleep            | None                           | ORIGINAL_SLEEP(PAUSE)
select           | None                           | ORIGINAL_SELECT([], [], [], PAUSE)
lock             | LOCKED                         | d.acquire(True, PAUSE)
os_system        | None                           | os.system(f"sleep {PAUSE}")
popen            | None                           | os.popen(f"sleep {PAUSE}").read()
sigtimedwait     | None                           | signal.sigtimedwait([signal.SIGUSR2], PAUSE)
usleep           | ctypes.CDLL(None)              | d.usleep(int(PAUSE * 1e6))
usleep_with_lock | ctypes.PyDLL(None)             | d.usleep(int(PAUSE * 1e6))
recv             | deaf_socket()                  | with suppress(OSError): d.recv(1)
epoll            | select.epoll()                 | d.poll(PAUSE)
poll             | select.poll()                  | d.poll(PAUSE * 1000)
sqlite_busy | busy_database() | with suppress(sqlite3.Error): d.execute("begin immediate")
waitpid | ["sleep", str(PAUSE)] | os.waitpid(os.posix_spawn("/bin/sleep", d, {}), 0)
subprocess       | None                           | subprocess.run(["sleep", str(PAUSE)])
"""

PYTHON = """
for_loop         | n                              | for i in range(d): i * i
while_loop       | [n]                            | while d[0]: d[0] -= 1
list_comp        | n                              | [i * i for i in range(d)]
set_comp         | n                              | {i % 7 for i in range(d)}
dict_comp        | n                              | {i % 7: i for i in range(d)}
nested_comp      | int(n**0.5)                    | [[i * j for i in range(d)] for j in range(d)]
generator        | n                              | sum(i * i for i in range(d))
all_of           | n                              | all(i >= 0 for i in range(d))
map_lambda       | n                              | list(map(lambda i: i + 1, range(d)))
filter_lambda    | n                              | list(filter(lambda i: i % 3, range(d)))
sort_by_key      | numbers(n)                     | sorted(d, key=lambda i: -i)
max_by_key       | n                              | max(range(d), key=lambda i: -i)
reduce           | n                              | functools.reduce(lambda a, b: a ^ b, range(d))
recursion | n.bit_length() + 1 | (f := lambda n: n if n < 2 else f(n - 1) + f(n - 2))(d)
deepcopy         | [{"a": [i]} for i in range(n // 20 + 1)] | copy.deepcopy(d)
pformat          | [{"a": i} for i in range(n // 50 + 1)] | pprint.pformat(d)
ndiff            | lines(n // 2000 + 2)           | list(difflib.ndiff(d, d[::-1]))
wrap             | "word " * (n // 10 + 1)        | textwrap.wrap(d)
sample           | range(n + 1)                   | random.sample(d, len(d) // 2)
shuffle          | numbers(n)                     | random.shuffle(d)
mean             | numbers(n)                     | statistics.fmean([x + 0.5 for x in d])
fractions        | n // 20 + 1                    | sum(fractions.Fraction(1, 2) for _ in range(d))
decimals         | n                              | sum(decimal.Decimal(i) for i in range(d))
strptime | n // 50 + 1 | [time.strptime("2026-01-02", "%Y-%m-%d") for _ in range(d)]
uuids            | n // 10 + 1                    | [uuid.uuid4() for _ in range(d)]
ip_addresses | n // 10 + 1 | [ipaddress.ip_address("10.0.0.1") for _ in range(d)]
json_in_python | json.dumps(numbers(n)) | json.decoder.JSONDecoder(object_pairs_hook=dict).decode(d)
templates | n // 20 + 1 | [string.Template("$a b").substitute(a=i) for i in range(d)]
http_dates       | n // 20 + 1                    | [email.utils.formatdate(i) for i in range(d)]
sha_loop         | n // 4 + 1                     | [hashlib.sha1(b"x").digest() for _ in range(d)]
attributes       | n // 4 + 1                     | [getattr(d, "nothing", None) for _ in range(d)]
python_pickle    | numbers(n // 4 + 1)            | pickle._dumps(d)
csv_reader       | lines(n)                       | list(csv.reader(d))
"""

C_CODE = """
zlib_compress    | os.urandom(64) * (n // 8 + 1)  | zlib.compress(d, 9)
zlib_decompress  | zlib.compress(bytes(n * 40))   | zlib.decompress(d)
lzma             | os.urandom(n // 8 + 1)         | lzma.compress(d)
sha256           | bytes(n * 40)                  | hashlib.sha256(d)
pbkdf2           | n // 2 + 1                     | hashlib.pbkdf2_hmac("sha256", b"x", b"y", d)
scrypt | n // 2000 + 1 | hashlib.scrypt(b"", salt=b"", n=1024, r=8, p=d, maxmem=2**30)
sorted           | numbers(n)                     | sorted(d)
sort             | numbers(n)                     | d.sort()
dict_of          | numbers(n)                     | dict(zip(d, d))
counter          | numbers(n)                     | collections.Counter(d)
nsmallest        | numbers(n)                     | heapq.nsmallest(len(d) // 2, d)
join             | [str(i) for i in range(n)]     | "".join(d * 10)
replace          | "ab" * n * 4                   | d.replace("a", "cd")
split            | "ab " * n                      | d.split()
translate        | "ab" * n                       | d.translate({97: "xyz"})
encode           | "caf\\u00e9" * n * 10          | d.encode()
decode           | ("caf\\u00e9" * n * 10).encode() | d.decode()
normalize        | "caf\\u00e9" * n               | unicodedata.normalize("NFD", d)
regex_backtracking | "a" * n.bit_length() + "b"     | re.match("(a+)+$", d)
regex_sub        | "ab" * n                       | re.sub("a", "cd", d)
regex_findall    | "ab" * n                       | re.findall("a.", d)
regex_compiled   | "ab" * n                       | PATTERN.search(d)
json_dumps       | numbers(n)                     | json.dumps(d)
json_loads       | json.dumps(numbers(n))         | json.loads(d)
json_pretty      | numbers(n)                     | json.dumps({"a": d}, indent=1)
pickle_dumps     | numbers(n)                     | pickle.dumps([[i] for i in d])
pickle_loads     | pickle.dumps([[i] for i in numbers(n)]) | pickle.loads(d)
marshal          | [(i, str(i)) for i in range(n)] | marshal.dumps(d)
struct           | numbers(n)                     | struct.pack(f"{len(d)}d", *d)
base64           | bytes(n * 40)                  | base64.b64encode(d)
int_of_text      | "7" * (n // 4 + 1)             | int(d)
text_of_int      | 1 << n                         | str(d)
pow              | n                              | pow(7, d)
factorial        | n // 4 + 1                     | math.factorial(d)
comb             | n                              | math.comb(d, d // 2)
isqrt            | 1 << n                         | math.isqrt(d)
permutations | n | list(itertools.islice(itertools.permutations(range(12)), d))
compile          | "x = 1\\n" * (n // 10 + 1)     | compile(d, "x", "exec")
ast              | "x = 1\\n" * (n // 10 + 1)     | ast.parse(d)
xml              | "<a>" + "<b/>" * n + "</a>"    | xml.etree.ElementTree.fromstring(d)
sqlite           | sqlite3.connect(":memory:"), COUNT.format(n + 2) | d[0].execute(d[1]).fetchall()
format           | list(range(n))                 | "{}".format(d)
repr             | list(range(n))                 | repr(d)
"""

MORE_C_CODE = """
bz2 | os.urandom(n // 4 + 1) | bz2.compress(d)
heapify | numbers(n) | heapq.heapify(d)
set_of | numbers(n) | set(d)
upper | "stra\\u00dfe" * n | d.upper()
regex_split | "a,b" * n | re.split("[,;]", d)
sum_of_range | n | sum(range(d * 4))
urls | n // 20 + 1 | [urllib.parse.quote(f"/{i} a") for i in range(d)]
glob_patterns | [f"{i}.txt" for i in range(n)] | fnmatch.filter(d, "*1*")
hex | bytes(n * 40) | d.hex()
base85 | bytes(n) | base64.b85encode(d)
"""

OPERATORS = """
power            | n                              | 7 ** d
product          | 7 ** (n // 2)                  | d * d
division         | (7 ** n, 3 ** n)               | d[0] // d[1]
in_list          | [0] * n * 4                    | -1 in d
equal_lists      | ([1.5] * n, [float("1.5")] * n) | d[0] == d[1]
substring        | "ab" * n * 10                  | "bac" in d
intersection     | (set(range(n)), set(range(n))) | d[0] & d[1]
less_tuples      | ((1.5,) * n, (float("1.5"),) * n) | d[0] < d[1]
merged_dicts     | dict.fromkeys(range(n))        | {**d, **d, **d}
freeing          | [[[i] for i in range(n)]]      | d.clear()
"""
