package godwit.tests;

import org.eclipse.californium.scandium.dtls.ConnectionId;
import org.eclipse.californium.scandium.dtls.DTLSContext;
import org.eclipse.californium.scandium.dtls.DTLSSession;
import org.eclipse.californium.scandium.dtls.Handshaker;
import org.eclipse.californium.scandium.dtls.SessionListener;

/** Reports each DTLS handshake of a client: "handshake" and "handshake-failed". */
final class Handshakes implements SessionListener {
    private final Client client;

    Handshakes(Client client) {
        this.client = client;
    }

    @Override
    public void handshakeStarted(Handshaker handshaker) {}

    @Override
    public void contextEstablished(Handshaker handshaker, DTLSContext context) {
        DTLSSession session = context.getSession();
        client.event(
                "handshake",
                "suite",
                session.getCipherSuite().name(),
                "resumed",
                !handshaker.isFullHandshake(),
                "session",
                session.getSessionIdentifier().getAsString(),
                "ems",
                session.useExtendedMasterSecret(),
                "limit",
                session.getMaxFragmentLength(),
                "write_cid",
                hex(context.getWriteConnectionId()),
                "read_cid",
                hex(context.getReadConnectionId()));
    }

    @Override
    public void handshakeCompleted(Handshaker handshaker) {}

    @Override
    public void handshakeFailed(Handshaker handshaker, Throwable cause) {
        client.event("handshake-failed", "message", String.valueOf(cause));
    }

    @Override
    public void handshakeFlightRetransmitted(Handshaker handshaker, int flight) {
        client.event("handshake-repeated", "flight", flight);
    }

    /** Null where no connection id was agreed, "" where an empty one was. */
    private static String hex(ConnectionId id) {
        return id == null ? null : id.getAsString();
    }
}
