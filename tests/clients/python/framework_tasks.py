"""What the workers of framework_suite.py run. A module of its own, as workers import it by name."""

import time

from celery import Celery

celery = Celery("shoal")
attempts = {}


@celery.task
def add(a, b):
    return a + b


@celery.task
def total(numbers):
    return sum(numbers)


@celery.task(bind=True, max_retries=3)
def third_time_lucky(self, name):
    if self.request.retries < 2:
        raise self.retry(countdown=0.1)
    return f"{name} after {self.request.retries} retries"


@celery.task
def now():
    return time.time()


def double(number):
    return 2 * number


def once_bitten(name):
    attempts[name] = attempts.get(name, 0) + 1
    if attempts[name] < 2:
        raise ValueError("not yet")
    return attempts[name]


def fails():
    raise ValueError("never")
