/* tests/rig/own_lock.c - what is unlocked was locked: libc does not look, and with one thread a
 * lock that was forgotten has no other effect. In each program that links the rig. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

int __real_pthread_mutex_unlock(pthread_mutex_t *m);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *m);

int __wrap_pthread_mutex_unlock(pthread_mutex_t *m)
{
    if (m->__data.__owner == 0) {
        (void)fputs("a mutex is unlocked that nobody holds\n", stderr);
        abort();
    }
    return __real_pthread_mutex_unlock(m);
}
