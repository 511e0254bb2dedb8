"""Print how many seconds the query of benchmark_pages takes on a connection that is open."""

import sys
import time

import django
from django.contrib.auth import get_user_model

django.setup()
count = get_user_model().objects.count
for _ in range(20):
    count()
times = int(sys.argv[1])
start = time.perf_counter()
for _ in range(times):
    count()
print((time.perf_counter() - start) / times)
