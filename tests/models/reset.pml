/* tests/models/reset.pml - a reset while requests are in flight (virtio 1.4, 2.1 and 2.4): when the
 * status reads 0 nothing of the driver's memory is touched any more, no queue is used after it was
 * freed, and a reset always ends, whatever the driver does meanwhile.
 *
 * One queue. vCPU threads do as devices/virtio/vdev.c and vdev_queue.c do, the loop's thread as
 * vdev_queue.c and vq.c, and the host ends what was given to it whenever it likes. A queue reset
 * (vdev_queue_disable()) takes the same way.
 *
 * SIZE         requests that may be in flight
 * BAD          a mistake that must be found, see tools/prove */
#ifndef BAD
#define BAD 0
#endif

bit control;                     /* the device's lock */
bit resetting;
bit ours = 0;                    /* the driver's memory is: from DRIVER_OK until status reads 0 */
bit allocated, live, stopping;   /* struct vq is there; queue.live; vq.stopping */
bit draining;                    /* under idle_lock, so each access is one step */
bit stop_call, start_posted, idle_posted; /* loop_call(), loop_post() */
bit kick;                        /* the queue's eventfd */
bit listed;                      /* base/loop_poll.c looks at it */
byte in_flight, at_host, done;   /* requests; of those with the host; of those that it has ended */

#define TOUCH_QUEUE  assert(allocated)
#define TOUCH_MEMORY assert(allocated && ours)

active [2] proctype vcpu() {
    do
    :: atomic { !control -> control = 1 }
       if
       :: atomic { !allocated -> allocated = 1; ours = 1 } /* queue_open(), DRIVER_OK */
          start_posted = 1                                 /* queue_start() */
       :: else ->
          resetting = 1; /* vdev_reset_locked() */
#if BAD == 1 /* status reads 0 at once */
          ours = 0;
#endif
          stop_call = 1; /* queues_stop(): loop_call(stop_on_loop) */
          !stop_call;
#if BAD != 2 /* it does not wait */
          !draining; /* wait_idle() */
#endif
          allocated = 0; /* queue_close(): vq_close() */
          atomic { ours = 0; resetting = 0 }
       fi;
       control = 0
    :: kick = 1 /* the doorbell, at any time */
    od
}

inline complete() { /* vq_complete() */
    TOUCH_MEMORY;
    in_flight--;
    if /* release() */
#if BAD == 3 /* told in place */
    :: stopping && in_flight == 0 -> draining = 0
#else
    :: stopping && in_flight == 0 -> idle_posted = 1
#endif
    :: else
    fi
}

inline vq_run() {
    do
    :: live && !stopping && in_flight < SIZE -> /* a request goes to the host */
        atomic { TOUCH_MEMORY; in_flight++; at_host++ }
    :: live && !stopping && in_flight < SIZE -> listed = 1; break /* it is empty */
    :: break
    od
}

inline stop_on_loop() {
#if BAD != 4 /* a start that was posted still comes */
    start_posted = 0;
#endif
    live = 0; /* and loop_unwatch() */
#if BAD != 5
    draining = 1;
#endif
    atomic { TOUCH_MEMORY; stopping = 1 } /* vq_stop(): what is due is published */
#if BAD != 6 /* it is still looked at */
    listed = 0; /* loop_poll_leave() */
#endif
    if
    :: in_flight == 0 -> draining = 0 /* vdev_queue_idle() */
    :: else ->
       do /* ops->drain(): what can be ended at once is */
       :: done > 0 -> done--; complete()
       :: break
       od
    fi;
#if BAD == 5 /* said too late */
    draining = 1;
#endif
    stop_call = 0
}

/* A turn takes what is there by then. */
active proctype loop() {
end:
    stop_call || start_posted || (kick && live) || done > 0 || idle_posted || listed;
    if
    :: stop_call -> stop_on_loop()
    :: else
    fi;
    if
    :: start_posted -> /* start_on_loop(): vq_start() */
        start_posted = 0;
        TOUCH_QUEUE;
        live = 1;
        stopping = 0;
        vq_run()
    :: else
    fi;
    if
    :: kick && live -> kick = 0; vq_run() /* on_kick() */
    :: else
    fi;
    if
    :: done > 0 ->
        done--;
        complete();
        TOUCH_QUEUE /* whoever ended it may look at the queue until the turn ends */
    :: else
    fi;
    if
    :: idle_posted -> /* idle_task(): the task is in the queue, until draining is 0 */
        TOUCH_QUEUE;
        idle_posted = 0;
        draining = 0
    :: else
    fi;
    if
    :: listed -> /* loop_poll_ready(), or arm_all() */
        listed = 0;
        TOUCH_MEMORY;
        vq_run()
    :: listed
    :: else
    fi;
    goto end
}

active proctype host() {
end:
    do
    :: atomic { at_host > 0 -> at_host--; done++ }
    od
}

ltl ends { [] (resetting -> <> !resetting) }
