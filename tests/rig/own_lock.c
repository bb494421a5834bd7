/* tests/rig/own_lock.c - who unlocks a mutex has locked it: libc does not look, and with one thread
 * a lock that was forgotten has no other effect. In each program that links the rig. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int __real_pthread_mutex_unlock(pthread_mutex_t *m);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *m);

int __wrap_pthread_mutex_unlock(pthread_mutex_t *m)
{
    static _Thread_local int me;
    static _Thread_local pid_t of; /* a test is a fork */
    if (of != getpid()) {
        of = getpid();
        me = gettid();
    }
    if (m->__data.__owner != me) {
        (void)fputs("a mutex is unlocked by who does not hold it\n", stderr);
        abort();
    }
    return __real_pthread_mutex_unlock(m);
}
